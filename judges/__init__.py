"""Judges: models, rules and learned baselines that label pairs."""
