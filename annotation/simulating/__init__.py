"""A simulated crowd: made-up people at the real application, and what a crowd like them would cost, take and find.

| module | does |
|---|---|
| `people` | who is in a crowd, drawn from a seed |
| `behaving` | what somebody answers, how long it takes them and what they do instead: pure, of a seed |
| `knowing` | the true answer of a pair: recorded by people, gold, or planted |
| `registering` | the study they come by, and raters that are marked as simulated before anybody arrives |
| `browsing` | a person's browser: cookies, redirects, and forms read from the pages |
| `serving` | the application on loopback, and a worker's looks at gold |
| `running` | everybody's doings in the order of a simulated clock |
| `reporting` | what came of it, counted from the stored rows |
| `estimating` | the same people without an application: cost, days, accuracy, power |

Their raters bear the origin "simulated" and say so in their names, and so do their reasons, so that nobody takes their
answers for people's.
"""
