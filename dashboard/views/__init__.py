"""The manager's pages: each view parses, calls one verb and renders. What is not yours is 404; changes are POST."""
