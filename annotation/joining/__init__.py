"""How people come in: invitations and open sign-up, links that sign in once, the second step, and limits on tries."""
