import logging

from django.apps import AppConfig

logger = logging.getLogger(__name__)


class AnnotationConfig(AppConfig):
    name = "annotation"

    def ready(self) -> None:
        """Connect payments with the platforms that carry them, and look at what is set about the OpenID provider."""
        from django.core.checks import register

        from annotation.crowd.paying import channels_in
        from annotation.joining.openid.configuring import check_configuration, faults
        from annotation.money.payers import register_channels

        register_channels(channels_in)
        register(check_configuration)
        # gunicorn runs no checks; that nobody can sign in by the provider must not be silent there.
        for fault in faults():
            logger.error("signing in by OpenID Connect is off: %s", fault)
