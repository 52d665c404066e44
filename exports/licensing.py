"""What the Hub shows of the licences that rows are under.

The Hub refuses a card whose `license` is not on its list; what is not there is `other`, under a name of one's own.
"""

import re
from collections.abc import Sequence

from exports.settings import plain_licence

OTHER = "other"
# The identifiers of the Hub's documentation, "Licenses". One that the Hub took since is `other` with its name here.
_LISTED = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m bsd
    bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0
    cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0
    cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0
    cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 gemma
    gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 lppl-1.3c
    mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 pddl postgresql unknown unlicense wtfpl
    zlib
"""
HUB_LICENCES = frozenset(_LISTED.split())


def shown_on_hub(names: Sequence[str]) -> dict[str, str]:
    """Return `license`, and `license_name` where it is `other`, for rows under the licences `names`.

    The one that all rows share and the Hub knows, else `other`, named by all of them: a list would read as a choice.
    """
    plain = sorted(set(map(plain_licence, names)))
    if len(plain) == 1 and plain[0] in HUB_LICENCES:
        return {"license": plain[0]}
    return {"license": OTHER, "license_name": "-and-".join(dict.fromkeys(map(_identifier, plain)))}


def _identifier(name: str) -> str:
    """Return a name as the Hub wants it in `license_name`: small letters, digits, dots and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", name.replace("+", "-plus")).strip("-.") or OTHER
