"""The settings of the test run: the application's own, in a folder of its own, with cheap passwords."""

import os
import tempfile

os.environ.setdefault("TIEBREAK_VAR", tempfile.mkdtemp(prefix="tiebreak-tests-"))
os.environ.setdefault("SECRET_KEY", "only-for-tests")

from config.settings import *  # noqa: F403
from config.settings import DATABASES, STORAGES, VAR_DIR

ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# The live server looks static files up by their plain names.
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file, not memory: threads and worker processes of a test must see the same database.
    DATABASES["default"]["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
DATABASES["default"]["CONN_MAX_AGE"] = 0
# WhiteNoise warns about a missing folder, and a warning is an error here.
(VAR_DIR / "static").mkdir(exist_ok=True)
# A message that leaves by a timer would leave in the next test.
OUTBOX_DELAY_SECONDS = 0
