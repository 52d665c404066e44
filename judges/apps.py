from django.apps import AppConfig


class JudgesConfig(AppConfig):
    name = "judges"

    def ready(self) -> None:
        """Offer imported rows to `judges.recording`: files may hold judgements of models."""
        # Models can be imported only now.
        from annotation.importing import register_consumer
        from judges.recording import check, consume

        register_consumer(consume, check)
