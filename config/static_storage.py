"""Static files under names that carry their hash, so that browsers may keep them for ever."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class ModuleStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Also writes the hashed names into the imports between our scripts' modules.

    Django's own support for that reads every script there is, and stumbles over examples in htmx's comments.
    """

    patterns = (
        *CompressedManifestStaticFilesStorage.patterns,
        (
            "js/*.js",
            ((r"""(?P<matched>(?P<word>from|import) "(?P<url>\./[^"]+)")""", '%(word)s "%(url)s"'),),
        ),
    )
    # A module's hash follows from those it imports: a pass for every step of the longest chain of imports.
    max_post_process_passes = 12
