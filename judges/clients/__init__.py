"""The one place that talks to model servers. The library `openai` is imported here and nowhere else.

`network` holds the event loop and one client a server, `completing` asks for chat completions, `failing` says what a
failure means. Retries live here and nowhere else (the library's own are off), and only for calls that were surely not
charged; a call that may have been charged comes back to its caller, who reserves money again before the next. Redirects
are refused: the library would send the prompts to whatever host answered. What a server may send is bounded.
"""

from judges.clients.completing import Reply, complete, read_reply
from judges.clients.failing import scrub
from judges.clients.network import RESPONSE_LIMIT_BYTES, Endpoint, backoff, rest, submit

__all__ = ["RESPONSE_LIMIT_BYTES", "Endpoint", "Reply", "backoff", "complete", "read_reply", "rest", "scrub", "submit"]
