"""Addresses of signing in and of the annotator's pages."""

from django.urls import path

from annotation.views import answering, crowd, guidelines, interface, joining, openid, signing_in, suggesting, training
from annotation.views.access import in_own_language

urlpatterns = [
    path("sign-in/", in_own_language(signing_in.SignIn.as_view()), name="sign_in"),
    path("sign-in/code/", signing_in.code, name="sign_in_code"),
    path("sign-in/link/", signing_in.ask_for_link, name="ask_for_link"),
    path("sign-in/link/<str:token>/", signing_in.by_link, name="sign_in_by_link"),
    path("sign-in/openid/", openid.start, name="openid"),
    path("sign-in/openid/return/", openid.come_back, name="openid_return"),
    path("sign-in/openid/account/", openid.connection, name="openid_connection"),
    path("join/<str:token>/", joining.join, name="join"),
    path("join/project/<slug:slug>/", joining.join_open, name="join_open"),
    # Where crowd platforms send people, and what they tell by themselves.
    path("study/<uuid:study_id>/", crowd.arrive, name="arrive"),
    path("study/<uuid:study_id>/mturk/", crowd.mturk, name="mturk"),
    path("crowd/prolific/events/", crowd.prolific_events, name="prolific_events"),
    path("annotate/<slug:slug>/end/", crowd.end, name="end_visit"),
    path("annotate/", answering.index, name="annotate_index"),
    # Before the projects: their short names hold no such thing as "settings/" with nothing behind it.
    path("annotation-settings/", interface.save, name="save_interface"),
    path("annotate/<slug:slug>/", answering.annotate, name="annotate"),
    path("annotate/<slug:slug>/recent/", answering.recent, name="recent_answers"),
    path("annotate/<slug:slug>/break/", answering.take_break, name="take_break"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/", answering.show_assignment, name="show_assignment"),
    path("annotate/<slug:slug>/guidelines/", guidelines.guidelines, name="annotate_guidelines"),
    path("annotate/<slug:slug>/guidelines/read/", guidelines.mark_guidelines_read, name="mark_guidelines_read"),
    path("annotate/<slug:slug>/guidelines/<int:number>/", guidelines.guidelines_version, name="guidelines_version"),
    path("annotate/<slug:slug>/practice/", training.practice, name="practice"),
    path("annotate/<slug:slug>/practice/again/", training.practice_again, name="practice_again"),
    path("annotate/<slug:slug>/gate/", training.gate, name="gate"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/differences/", answering.show_differences, name="differences"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/suggestion/", suggesting.suggestion, name="suggestion"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/submit/", answering.submit_answer, name="submit_answer"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/skip/", answering.skip_pair, name="skip_pair"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/renew/", answering.renew_lease, name="renew_lease"),
    path("annotate/<slug:slug>/<uuid:assignment_id>/draft/", answering.keep_draft, name="keep_draft"),
]
