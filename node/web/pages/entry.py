"""Log-in, log-out, language, and whether the pages are up."""

from starlette.responses import PlainTextResponse, RedirectResponse, Response

from node.people.users import list_users
from node.store import audit
from node.web import access
from node.web.render import page
from node.web.visit import Visit
from node.web.words import LANGUAGE_COOKIE, LANGUAGES

YEAR_S = 365 * 24 * 3600


def show_log_in(visit: Visit) -> Response:
    """The form; without any account, how to make one."""
    if visit.visitor is not None:
        return RedirectResponse("/", 303)
    return page(visit, "login.html", {"wrong": "", "none_yet": not list_users(visit.db)})


def log_in(visit: Visit) -> Response:
    """Name and password; each try is in the audit."""
    name, password = visit.form.get("name", "").strip(), visit.form.get("password", "")
    failures: access.Failures = visit.request.app.state.failures
    if failures.blocked(name, visit.address, visit.now):
        return page(visit, "login.html", {"wrong": visit.words("too_many"), "none_yet": False}, status=429)
    token = None if visit.settings.web.proxy else access.log_in(visit.db, name, password, now=visit.now)
    _note(visit, name if token else "", "logged in" if token else "refused: log-in")
    if token is None:
        failures.add(name, visit.address, visit.now)
        return page(visit, "login.html", {"wrong": visit.words("wrong"), "none_yet": False}, status=401)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(access.COOKIE, token, httponly=True, samesite="lax", secure=visit.settings.web.tls is not None)
    return answer


def log_out(visit: Visit) -> Response:
    """End the session."""
    visit.note("logged out", "")
    access.log_out(visit.db, visit.request)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(access.COOKIE)
    return answer


def choose_language(visit: Visit) -> Response:
    """Keep the language in the browser."""
    chosen = visit.form.get("language", "")
    answer = RedirectResponse("/", 303)
    if chosen in LANGUAGES:
        answer.set_cookie(LANGUAGE_COOKIE, chosen, max_age=YEAR_S, httponly=True, samesite="lax")
    return answer


def health(visit: Visit) -> Response:
    """That the pages reach the database."""
    visit.db.execute("SELECT 1").fetchone()
    return PlainTextResponse("ok\n")


def _note(visit: Visit, name: str, action: str) -> None:
    # A name that was typed and is none may be a password.
    audit.note(visit.db, name=name, address=visit.address, action=action, subject="", at=visit.now)
