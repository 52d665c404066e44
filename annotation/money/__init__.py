"""People's money: pay is booked with each answer; payments are drawn up, confirmed, sent and reconciled."""
