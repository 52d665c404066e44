"""What hints that a judge is wrong: texts measured, answers compared, what a manager adds; kept by fingerprint."""
