"""Addresses of signing in and of the annotation screen."""

from django.contrib.auth.views import LoginView
from django.urls import path

from annotation.views import answering, guidelines, training

urlpatterns = [
    path(
        "sign-in/",
        LoginView.as_view(template_name="annotation/sign_in.html", redirect_authenticated_user=True),
        name="sign_in",
    ),
    path("annotate/", answering.index, name="annotate_index"),
    path("annotate/<slug:slug>/", answering.annotate, name="annotate"),
    path("annotate/<slug:slug>/guidelines/", guidelines.guidelines, name="annotate_guidelines"),
    path("annotate/<slug:slug>/guidelines/read/", guidelines.mark_guidelines_read, name="mark_guidelines_read"),
    path("annotate/<slug:slug>/guidelines/<int:number>/", guidelines.guidelines_version, name="guidelines_version"),
    path("annotate/<slug:slug>/practice/", training.practice, name="practice"),
    path("annotate/<slug:slug>/practice/again/", training.practice_again, name="practice_again"),
    path("annotate/<slug:slug>/gate/", training.gate, name="gate"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/submit/", answering.submit_answer, name="submit_answer"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/skip/", answering.skip_pair, name="skip_pair"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/renew/", answering.renew_lease, name="renew_lease"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/draft/", answering.keep_draft, name="keep_draft"),
]
