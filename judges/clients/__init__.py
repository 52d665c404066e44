"""The one place that talks to model servers. The library `openai` is imported here and nowhere else.

`transports` guards what comes in, `network` holds the event loop and one client a server, `calling` makes one exchange
and is the one place that tries again, `failing` says what a failure means; `completing` asks for chat completions,
`deciding` for decisions, `embedding` for vectors, `metering` for a server's load, and `filing` moves files of requests
and of answers. Retries live here and nowhere else (the library's own are off), and only for calls that were surely not
charged; a call that may have been charged comes back to its caller, who reserves money again before the next. Redirects
are refused: the library would send the prompts to whatever host answered. What a server may send is bounded.
"""

from judges.clients.calling import exchange, persist
from judges.clients.completing import Reply, complete, complete_many, read_object, read_reply
from judges.clients.deciding import decide, system_one
from judges.clients.embedding import embed
from judges.clients.failing import clean, scrub
from judges.clients.metering import Load, load_of
from judges.clients.network import Endpoint, backoff, network, rest, submit
from judges.clients.transports import RESPONSE_LIMIT_BYTES, at_most

__all__ = [
    "RESPONSE_LIMIT_BYTES",
    "Endpoint",
    "Load",
    "Reply",
    "at_most",
    "backoff",
    "clean",
    "complete",
    "complete_many",
    "decide",
    "embed",
    "exchange",
    "load_of",
    "network",
    "persist",
    "read_object",
    "read_reply",
    "rest",
    "scrub",
    "submit",
    "system_one",
]
