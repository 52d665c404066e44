"""Long calculations on stored data: replays of routing, and searches over mixes with proxy reward models."""
