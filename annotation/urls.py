"""Addresses of the annotation screen."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
