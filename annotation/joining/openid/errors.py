"""Why nobody was signed in by the provider; each is a sentence for who tried, and `why` is for the log."""

from django.utils.translation import gettext as _

from annotation.joining.errors import JoiningError


class OpenIDError(JoiningError):
    """Signing in by the provider did not work. `why` never holds a secret, a token or a code."""

    def __init__(self, said: str, *, why: str = "") -> None:
        super().__init__(said)
        self.why = why


class Refused(OpenIDError):
    """The provider, or this site, does not let this person in."""


class Outdated(OpenIDError):
    """What came back belongs to no sign-in that this browser has under way: too old, or used before."""


class ProviderFault(OpenIDError):
    """The provider cannot be reached, or what it answers cannot be trusted or read."""


def untrusted(provider: str, why: str) -> ProviderFault:
    """Return the fault of a provider, by its label, whose answer cannot be trusted or read."""
    said = _("%(provider)s answered what this site cannot use. Tell the operator of this site, or sign in another way.")
    return ProviderFault(said % {"provider": provider}, why=why)
