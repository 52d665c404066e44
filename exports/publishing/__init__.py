"""Exports leave: one commit, tagged, read back, private unless a person said otherwise twice."""
