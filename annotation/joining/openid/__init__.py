"""Signing in by an OpenID Connect provider: the authorization-code flow with PKCE, by configuration alone.

`configuring` reads what the operator set, `asking` speaks to the provider, `verifying` reads its ID tokens, `flowing`
leaves for the provider and comes back, and `matching` says whose account it is.
"""
