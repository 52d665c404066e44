"""One answer a pair, from people or a judge, with the reason."""
