"""Addresses of the manager's pages."""

from django.urls import path

from dashboard.views import charts, exporting, health, imports, judging, pairs, people, projects, routing

urlpatterns = [
    path("", projects.home, name="home"),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    # Not below projects/: there it would hide a project called "new".
    path("new-project/", projects.new_project, name="new_project"),
    path("projects/<slug:slug>/", projects.project, name="project"),
    path("projects/<slug:slug>/status/", projects.set_status, name="set_status"),
    path("projects/<slug:slug>/resolve/", projects.resolve, name="resolve"),
    path("projects/<slug:slug>/imports/", imports.imports, name="imports"),
    path("projects/<slug:slug>/imports/<uuid:import_id>/", imports.import_page, name="import"),
    path("projects/<slug:slug>/judges/", judging.judges, name="judges"),
    path("projects/<slug:slug>/judges/<uuid:version_id>/", judging.judge, name="judge"),
    path("projects/<slug:slug>/runs/<uuid:run_id>/", judging.run, name="run"),
    path("projects/<slug:slug>/runs/<uuid:run_id>/<slug:action>/", judging.steer_run, name="steer_run"),
    path("projects/<slug:slug>/routing/", routing.routing, name="routing"),
    path("projects/<slug:slug>/routing/<uuid:plan_id>/", routing.plan, name="plan"),
    path("projects/<slug:slug>/routing/<uuid:plan_id>/apply/", routing.apply, name="apply_plan"),
    path("projects/<slug:slug>/pairs/", pairs.pairs, name="pairs"),
    path("projects/<slug:slug>/pairs/<uuid:pair_id>/", pairs.pair, name="pair"),
    path("projects/<slug:slug>/people/", people.people, name="people"),
    path("projects/<slug:slug>/exports/", exporting.exports, name="exports"),
    path("projects/<slug:slug>/exports/<uuid:snapshot_id>/", exporting.export, name="export"),
    path("projects/<slug:slug>/exports/<uuid:snapshot_id>/<path:path>", exporting.export_file, name="export_file"),
    path("projects/<slug:slug>/spending/", people.spending, name="spending"),
    path("projects/<slug:slug>/charts/<slug:name>-<slug:theme>-<slug:width>.svg", charts.chart, name="chart"),
]
