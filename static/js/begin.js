// Before the first paint: says that scripts run, so that what only they can do is shown and plain forms' parts are not.
document.documentElement.classList.add("js");
