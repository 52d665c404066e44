"""The addresses of the annotator's screen as a preview has them: all lead to what stores nothing.

`dashboard.urls` serves them; here they bear the names by which the screen's templates ask for them.
"""

from django.urls import path

from dashboard.views import screens

HERE = "projects/<slug:slug>/screen/preview/"
ACT = HERE + "<str:packed>/{}/"
NOTE = "screen-preview/"

ACTS = {
    "submit_answer": "submit",
    "skip_pair": "skip",
    "keep_draft": "draft",
    "renew_lease": "renew",
    "differences": "differences",
    "suggestion": "suggestion",
}
OF_PROJECT = ("recent_answers", "take_break", "annotate_guidelines", "mark_guidelines_read")
ELSEWHERE = ("annotate_index", "save_interface", "sign_in", "sign_out", "home")
urlpatterns = [
    path(HERE, screens.preview, name="annotate"),
    path(HERE + "<str:packed>/", screens.preview_answer, {"act": "show"}, name="show_assignment"),
    *(path(ACT.format(act), screens.preview_answer, {"act": act}, name=name) for name, act in ACTS.items()),
    *(path(f"{NOTE}<slug:slug>/", screens.preview_note, name=name) for name in OF_PROJECT),
    *(path(NOTE, screens.preview_note, name=name) for name in ELSEWHERE),
]
