"""Addresses of the manager's pages."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
