"""People from crowd platforms: how they arrive, what they see at the end, and what the platform is told and tells."""
