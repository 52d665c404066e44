"""Prolific: its API, the signatures of its arrivals, and the events it sends."""
