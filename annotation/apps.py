from django.apps import AppConfig


class AnnotationConfig(AppConfig):
    name = "annotation"

    def ready(self) -> None:
        """Connect payments with the platforms that carry them."""
        from annotation.crowd.paying import channels_in
        from annotation.money.payers import register_channels

        register_channels(channels_in)
