"""Accounts of the pages."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from node.clock import now
from node.commands.shell import AsJson, Config, note, open_node, out, print_json, print_table
from node.errors import InputError
from node.run.program import read_settings

app = typer.Typer()
users_app = typer.Typer(help="Who may log in to the pages, and what each may do there.", no_args_is_help=True)
app.add_typer(users_app, name="users")

Name = Annotated[str, typer.Argument(help="The name, under which readings and decisions are kept.")]
Roles = Annotated[
    list[str], typer.Option("--role", help="reader, surgeon, keeper (of cut-offs) or engineer; may be given again.")
]
FromInput = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@users_app.command("list")
def users_list(config: Config = None, as_json: AsJson = False) -> None:
    """List the accounts."""
    from node.people.users import list_users

    db, _ = open_node(read_settings(config), action="users list")
    users = list_users(db)
    if as_json:
        rows = [{**asdict(one), "roles": list(one.roles)} for one in users]
        print_json(rows)
        return
    cells = [
        (one.name, ", ".join(one.roles), "password" if one.local else "proxy", "yes" if one.disabled else "")
        for one in users
    ]
    print_table(None, ("name", "roles", "known by", "disabled"), cells)


@users_app.command("add")
def users_add(
    name: Name,
    role: Roles,
    by_proxy: Annotated[
        bool, typer.Option("--by-proxy", help="No password: the reverse proxy of web.proxy says who it is.")
    ] = False,
    password_stdin: FromInput = False,
    config: Config = None,
) -> None:
    """Add an account, or give one that is there other roles; the password is asked for, and never an argument."""
    from node.people.users import add_user, require_account

    settings = read_settings(config)
    require_account(name, role)
    db, _ = open_node(settings, create=True, action="users add", subject=name)
    password = None if by_proxy else _password(from_input=password_stdin)
    add_user(db, name, roles=role, password=password, now=now())
    out.print(f"{name} may log in as {', '.join(role)}", markup=False, highlight=False)


@users_app.command("password")
def users_password(name: Name, password_stdin: FromInput = False, config: Config = None) -> None:
    """Give an account another password; its sessions end."""
    from node.people.users import require_user, set_password

    db, _ = open_node(read_settings(config))
    require_user(db, name)
    note(db, "users password", name)
    set_password(db, name, _password(from_input=password_stdin), now=now())
    out.print(f"the password of {name} is another now", markup=False, highlight=False)


@users_app.command("disable")
def users_disable(name: Name, config: Config = None) -> None:
    """Let nobody log in with an account any more; its readings and decisions stay."""
    from node.people.users import disable_user, require_user

    db, _ = open_node(read_settings(config))
    require_user(db, name)
    note(db, "users disable", name)
    disable_user(db, name, now=now())
    out.print(f"{name} may not log in any more", markup=False, highlight=False)


def _password(*, from_input: bool) -> str:
    if from_input:
        given = sys.stdin.readline().rstrip("\n")
        if not given:
            raise InputError("no password on standard input")
        return given
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
