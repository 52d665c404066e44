from django.apps import AppConfig


class JudgesConfig(AppConfig):
    name = "judges"

    def ready(self) -> None:
        """Offer imported rows to `judges.recording` and `judges.flagging`.

        Files may hold judgements of models, and responses that speak to the judge.
        """
        # Models can be imported only now.
        from annotation.importing import register_consumer
        from judges import flagging, recording

        register_consumer(recording.consume, recording.check)
        register_consumer(flagging.consume)
