"""Addresses of signing in and of the annotation screen."""

from django.contrib.auth.views import LoginView
from django.urls import path

from annotation import views

urlpatterns = [
    path(
        "sign-in/",
        LoginView.as_view(template_name="annotation/sign_in.html", redirect_authenticated_user=True),
        name="sign_in",
    ),
    path("annotate/", views.index, name="annotate_index"),
    path("annotate/<slug:slug>/", views.annotate, name="annotate"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/submit/", views.submit_answer, name="submit_answer"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/skip/", views.skip_pair, name="skip_pair"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/renew/", views.renew_lease, name="renew_lease"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/draft/", views.keep_draft, name="keep_draft"),
]
