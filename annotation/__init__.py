"""People, pairs, preferences and tasks; knows nothing of judges, routing or exports."""
