"""Which pairs deserve a person, and which label a pair ends with."""
