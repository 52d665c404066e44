"""The application without its safeguard for killed workers: `celery -A tests.faults.careless`. Only for tests."""

from config.celery import app

# Celery's own default: a message is gone as soon as a worker has it.
app.conf.update(task_acks_late=False, task_reject_on_worker_lost=False)
