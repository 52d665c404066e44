"""Plans: budget, cost, ranking, draw and frontier; applying one, and planning again."""
