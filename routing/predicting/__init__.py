"""P(judge wrong): labelled pairs, the predictor, its refits as labels arrive, and the alarm when it no longer holds."""
