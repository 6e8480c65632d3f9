"""The security controls that docs/security.md names, in the form of tests/safeguards.py: a piece of the source, and what stands
there when it is switched off. `python -m tests.safeguards` switches these off as well."""

from __future__ import annotations

from tests.safeguards import Safeguard

PLANE, DEVICE, TESTS = "sync/control_plane", "sync/device", "tests/sync"

CONTROLS: dict[str, Safeguard] = {
    # Who a device is
    "a device is its enrolled key": Safeguard(
        f"{PLANE}/ingest.py",
        "if known is not None and known.key == key:",
        "if known is not None:",
        f"{TESTS}/test_controls.py::test_who_enrols_a_name_anew_makes_every_older_certificate_worthless",
    ),
    "a certificate has an end": Safeguard(
        f"{PLANE}/shown.py",
        "self.signed and self.since <= time.time() < self.until",
        "self.signed",
        f"{TESTS}/test_controls.py::test_a_certificate_whose_time_is_over_opens_nothing_but_the_way_to_a_new_one",
    ),
    "revoking reaches every process in seconds": Safeguard(
        f"{PLANE}/ingest.py",
        "        await self.keys.look()\n",
        "",
        f"{TESTS}/test_revoked.py::test_a_device_that_is_revoked",
    ),
    "an invitation has an end": Safeguard(
        f"{PLANE}/invite.py",
        "i.c.left > 0, i.c.expires > time.time()",
        "i.c.left > 0",
        f"{TESTS}/test_invitations.py::test_one_for_a_name_is_for_no_other_and_none_is_for_ever",
    ),
    "an invitation is used up": Safeguard(
        f"{PLANE}/invite.py",
        ".values(left=i.c.left - 1)",
        ".values(left=i.c.left)",
        f"{TESTS}/test_invitations.py::test_one_for_several_is_for_so_many_new_ones",
    ),
    "an invitation for several takes nobody's name": Safeguard(
        f"{PLANE}/invite.py",
        'old["site"] == found["site"] and not found["several"]',
        'old["site"] == found["site"]',
        f"{TESTS}/test_invitations.py::test_one_for_several_is_for_so_many_new_ones",
    ),
    "an invitation takes no device of another place": Safeguard(
        f"{PLANE}/invite.py",
        'old["site"] == found["site"] and not found["several"]',
        'not found["several"]',
        f"{TESTS}/test_invitations.py::test_one_that_names_nobody_takes_no_device_of_another_place",
    ),
    "a device's request wishes for nothing": Safeguard(
        f"{PLANE}/ca.py",
        "if fits and not list(asked.attributes) and",
        "if fits and",
        f"{TESTS}/test_outside.py::test_a_device_wishes_for_nothing_in_its_request",
    ),
    "what another authority signed is looked at": Safeguard(
        f"{PLANE}/outside.py",
        "if why := _unlike(found, wanted, self._root):",
        'if why := "":',
        f"{TESTS}/test_outside.py::test_what_they_should_not_have_signed_is_not_believed",
    ),
    "the word of a distrusted issuer ends": Safeguard(
        f"{PLANE}/shown.py",
        "self.signed and self.since <= time.time() < self.until",
        "self.since <= time.time() < self.until",
        f"{TESTS}/test_issuer.py::test_the_word_of_an_issuer_that_was_stolen_is_no_proxy_s",
    ),
    "a proxy alone vouches for devices": Safeguard(
        f"{PLANE}/shown.py",
        "    if found.name != PROXY:\n        return found\n",
        "",
        f"{TESTS}/test_controls.py::test_a_device_does_not_vouch_for_another",
    ),
    "a copied identity is an alarm": Safeguard(
        f"{PLANE}/ingest.py",
        "        if self._clones.saw(",
        "        if False and self._clones.saw(",
        f"{TESTS}/test_clones.py::test_a_copied_state_folder_is_an_alarm_of_the_plane",
    ),
    "guesses of an invitation keep no writer busy": Safeguard(
        f"{PLANE}/ingest.py",
        "        if not await self._store.glance(lambda c: stands_open(c, invitation)):",
        "        if False:",
        f"{TESTS}/test_controls.py::test_who_guesses_an_invitation_writes_nothing",
    ),
    # Who the plane is
    "a root is believed by the token's fingerprint": Safeguard(
        f"{DEVICE}/enrolment.py",
        "if hashlib.sha256(certificate).hexdigest() != fingerprint:",
        "if False:",
        f"{TESTS}/test_rogues.py::test_a_token_of_another_root_is_refused",
    ),
    "the plane is believed by its root": Safeguard(
        f"{DEVICE}/identity.py",
        "no_clock(safe(ssl.create_default_context(cadata=self.ca)), self.ca)",
        "ssl._create_unverified_context()",
        f"{TESTS}/test_rogues.py::test_a_rogue_is_refused_and_told_nothing",
    ),
    "the plane is believed at the enrolment": Safeguard(
        f"{DEVICE}/enrolment.py",
        "proven = no_clock(safe(ssl.create_default_context(cadata=ca)), ca)",
        "proven = unproven",
        f"{TESTS}/test_rogues.py::test_a_rogue_is_refused_and_told_nothing",
    ),
    "TLS 1.2 at least": Safeguard(
        "sync/tls.py",
        "    context.minimum_version = ssl.TLSVersion.TLSv1_2\n",
        "",
        f"{TESTS}/test_rogues.py::test_a_machine_that_allows_old_tls_does_not_allow_it_here",
    ),
    "safe ciphers only": Safeguard(
        "sync/tls.py",
        "    context.set_ciphers(CIPHERS)\n",
        "",
        f"{TESTS}/test_rogues.py::test_a_rogue_is_refused_and_told_nothing",
    ),
    "safe ciphers at the plane": Safeguard(
        f"{PLANE}/plane.py",
        "            safe(config.ssl)\n",
        "",
        f"{TESTS}/test_rogues.py::test_the_plane_s_own_listener_takes_safe_ciphers_only",
    ),
    "a question through a broker is proven": Safeguard(
        f"{PLANE}/broker.py",
        "if known is not None and wire.proven(",
        "if known is not None or wire.proven(",
        f"{TESTS}/test_broker.py::test_who_proves_nothing_is_answered_with_nothing",
    ),
    "a device has its own topics only": Safeguard(
        f"{PLANE}/mosquitto.py",
        "pattern write {wire.up('%u')}",
        "topic write {every}",
        f"{TESTS}/test_broker.py::test_the_broker_of_the_plane_lets_in_its_devices_and_each_to_its_own",
    ),
    # Keys where they lie
    "the identity is for its owner alone": Safeguard(
        f"{DEVICE}/identity.py",
        "os.O_EXCL, 0o600)",
        "os.O_EXCL, 0o644)",
        f"{TESTS}/test_controls.py::test_what_is_secret_on_a_device_is_for_its_owner_alone",
    ),
    "no link is followed where a secret is written": Safeguard(
        f"{DEVICE}/identity.py",
        "    fresh.unlink(missing_ok=True)\n    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL,",
        "    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC,",
        f"{TESTS}/test_controls.py::test_a_link_that_somebody_put_into_the_state_folder_is_not_followed",
    ),
    "the plane's keys are for their owner alone": Safeguard(
        f"{PLANE}/kept.py",
        "os.O_EXCL, 0o600)",
        "os.O_EXCL, 0o644)",
        f"{TESTS}/test_page.py::test_what_is_secret_is_read_by_its_owner_only",
    ),
    "a backup is for its owner alone": Safeguard(
        f"{PLANE}/backup.py",
        "fresh.touch(0o600)",
        "fresh.touch(0o644)",
        f"{TESTS}/test_backup.py::test_everything_is_the_same_afterwards",
    ),
    "a secret is in no log": Safeguard(
        f"{DEVICE}/identity.py",
        '        return f"Identity({self.device!r}, {self.url!r})"',
        '        return f"Identity({self.device!r}, {self.secret!r}, {self.key!r})"',
        f"{TESTS}/test_controls.py::test_what_is_secret_on_a_device_is_for_its_owner_alone",
    ),
    "a PIN is not for everybody": Safeguard(
        f"{DEVICE}/pkcs11.py",
        "            if file.stat().st_mode & 0o007:",
        "            if False:",
        f"{TESTS}/test_token_key.py::test_a_pin_that_everybody_reads_is_none",
    ),
    "what looks like a secret leaves no device": Safeguard(
        "edge/diagnosis.py",
        "return {k: MASK if _HIDDEN.search(str(k)) and not isinstance(v, Secret) else masked(v) for k, v in data.items()}",
        "return {k: masked(v) for k, v in data.items()}",
        f"{TESTS}/test_questions.py::test_what_looks_like_a_secret_is_masked",
    ),
    "the device's own socket is for its owner alone": Safeguard(
        "edge/control.py",
        "before = os.umask(0o177)",
        "before = os.umask(0)",
        "tests/edge/test_daemon.py::test_the_socket_answers_garbage_and_goes_on",
    ),
    # What people's plane lets in
    "a route wants to know who asks": Safeguard(
        f"{PLANE}/access.py",
        "        if asker is None:\n            raise",
        "        if False:\n            raise",
        f"{TESTS}/test_page.py::test_every_route_wants_a_session",
    ),
    "a role says what and where": Safeguard(
        f"{PLANE}/access.py",
        "        elif not scope.places or (need.of is Of.PLANE and not scope.whole):",
        "        elif False:",
        f"{TESTS}/test_matrix.py::test_each_role_gets_of_each_route_what_the_table_says",
    ),
    "another's device does not exist": Safeguard(
        f"{PLANE}/access.py",
        '            if not asker.scope("watch").holds(place):',
        "            if False:",
        f"{TESTS}/test_controls.py::test_a_device_of_another_is_as_one_that_there_is_not",
    ),
    "a role is one at a node": Safeguard(
        f"{PLANE}/access.py",
        "            if not scope.holds(place):",
        "            if False:",
        f"{TESTS}/test_matrix.py::test_each_role_gets_of_each_route_what_the_table_says",
    ),
    "a name is guessed slowly": Safeguard(
        f"{PLANE}/signin.py",
        "        if wait:",
        "        if False:",
        f"{TESTS}/test_people.py::test_who_guesses_waits",
    ),
    "nobody learns who has an account": Safeguard(
        f"{PLANE}/people.py",
        "return hasher.verify(kept or NOBODY, words[: LONGEST + 1]) and bool(kept)",
        "return bool(kept) and hasher.verify(kept or NOBODY, words[: LONGEST + 1])",
        f"{TESTS}/test_people.py::test_nobody_learns_who_has_an_account",
    ),
    "a password is not short": Safeguard(
        f"{PLANE}/people.py",
        "if not SHORTEST <= len(words) <= LONGEST or len(set(words)) < 5:",
        "if False:",
        f"{TESTS}/test_people.py::test_what_cannot_be_is_told",
    ),
    "a session has an end": Safeguard(
        f"{PLANE}/people.py",
        "mine = select(t.c.person).where(t.c.hash == hashed(token), t.c.expires > time.time())",
        "mine = select(t.c.person).where(t.c.hash == hashed(token))",
        f"{TESTS}/test_people.py::test_a_session_ends_when_it_is_over_or_somebody_ends_it",
    ),
    "a program's key has an end": Safeguard(
        f"{PLANE}/people.py",
        "mine = select(t.c.name, t.c.role, t.c.place).where(t.c.hash == hashed(token), t.c.expires > time.time())",
        "mine = select(t.c.name, t.c.role, t.c.place).where(t.c.hash == hashed(token))",
        f"{TESTS}/test_people.py::test_a_program_comes_with_its_key",
    ),
    "nobody gives what they do not have": Safeguard(
        f"{PLANE}/people_api.py",
        "    if not holds(me, role, at):",
        "    if False:",
        f"{TESTS}/test_people_api.py::test_a_tenants_admin_looks_after_its_people_alone",
    ),
    "nobody reaches who is more than they": Safeguard(
        f"{PLANE}/people_api.py",
        "        if not manages(me, asks, roles):",
        "        if False:",
        f"{TESTS}/test_people_api.py::test_who_administers_every_tenant_reaches_no_platform_admin",
    ),
    "another password wants the old one": Safeguard(
        f"{PLANE}/login.py",
        "        if await knows.proves(who.name, words.old, request.state.origin) is None:",
        "        if False:",
        f"{TESTS}/test_people_api.py::test_somebody_gives_themselves_another_password_who_knows_the_old_one",
    ),
    "people of another tenant do not exist": Safeguard(
        f"{PLANE}/people_api.py",
        "or not (asks.whole or any(asks.holds(at) for _, at in roles))",
        "or False",
        f"{TESTS}/test_people_api.py::test_a_tenants_admin_looks_after_its_people_alone",
    ),
    "the audit keeps nothing of a password": Safeguard(
        f"{PLANE}/entrance.py",
        "not (need.recorded or need.secret)",
        "not need.recorded",
        f"{TESTS}/test_people_api.py::test_the_audit_keeps_nothing_of_a_password_is_searched_and_says_whether_it_holds",
    ),
    "the link is of the first day": Safeguard(
        f"{PLANE}/signin.py",
        "return FIRST if await self.by_link() else None",
        "return FIRST",
        f"{TESTS}/test_people.py::test_the_link_is_of_the_first_day",
    ),
    "a way in by a provider is of one browser": Safeguard(
        f"{PLANE}/openid.py",
        "        if not secrets.compare_digest(state.encode(), flow.state.encode()):",
        "        if False:",
        f"{TESTS}/test_openid.py::test_a_way_in_is_of_one_browser_and_once",
    ),
    "what a provider says was said to us": Safeguard(
        f"{PLANE}/openid.py",
        'aud={"essential": True, "value": self.options.client}',
        'aud={"essential": True}',
        f"{TESTS}/test_openid.py::test_what_a_provider_says_is_looked_at",
    ),
    "what a provider says was said now": Safeguard(
        f"{PLANE}/openid.py",
        'nonce={"essential": True, "value": flow.nonce}',
        'nonce={"essential": True}',
        f"{TESTS}/test_openid.py::test_what_a_provider_says_is_looked_at",
    ),
    "orders come from the plane's own page": Safeguard(
        f"{PLANE}/api.py",
        'if request.method not in ("GET", "HEAD") and not _from_here(request):',
        "if False:",
        f"{TESTS}/test_page.py::test_orders_come_from_our_own_page_about_alarms_that_exist",
    ),
    "no other name leads to the page": Safeguard(
        f"{PLANE}/api.py",
        "if request.url.hostname not in hosts:",
        "if False:",
        f"{TESTS}/test_spine.py::test_the_page_needs_the_link_and_shows_live_values",
    ),
    "a page runs no script but ours": Safeguard(
        f"{PLANE}/api.py",
        '        answer.headers["Content-Security-Policy"] = POLICY\n',
        "",
        f"{TESTS}/test_page.py::test_what_a_browser_is_told",
    ),
    "no file but the console's": Safeguard(
        f"{PLANE}/api.py",
        "inside = wanted.is_relative_to(WEB.resolve()) and wanted.is_file()",
        "inside = wanted.is_file()",
        f"{TESTS}/test_controls.py::test_no_path_leads_out_of_the_console",
    ),
    "on this machine only, unless told": Safeguard(
        f"{PLANE}/where.py",
        'listen: str = "127.0.0.1"',
        'listen: str = "0.0.0.0"',
        f"{TESTS}/test_page.py::test_what_a_browser_is_told",
    ),
    "no address of this network, unless told": Safeguard(
        f"{PLANE}/posting.py",
        "    if not private and not ip.is_global:",
        "    if False:",
        f"{TESTS}/test_webhooks.py::test_what_only_this_network_reaches_is_not_asked_unless_it_is_meant",
    ),
    # What may be as large as it likes
    "a block says how large it gets": Safeguard(
        "edge/codec.py",
        "if not 0 <= size <= most:",
        "if False:",
        "tests/edge/test_codec.py::test_a_bomb_is_refused_before_it_takes_memory",
    ),
    "a request has a size": Safeguard(
        f"{PLANE}/heads.py",
        "            if self._read > self._most:",
        "            if False:",
        f"{TESTS}/test_hostile.py::test_a_head_without_an_end_is_read_up_to_a_bound",
    ),
    "a request has an end": Safeguard(
        f"{PLANE}/heads.py",
        "if self._lacks_head and self._ends is None:",
        "if False:",
        f"{TESTS}/test_hostile.py::test_a_head_that_never_ends_is_waited_for_up_to_a_bound",
    ),
    "one address asks so often and so much": Safeguard(
        f"{PLANE}/entrance.py",
        "        if wait := self._limits.take(origin):",
        "        if wait := 0.0 * self._limits.take(origin):",
        f"{TESTS}/test_people.py::test_what_is_too_much_is_refused_before_it_is_read",
    ),
    "an answer has a size": Safeguard(
        f"{DEVICE}/identity.py",
        "answer.read(min(65_536, most + 1 - len(body)), decode_content=False)",
        "answer.read(65_536, decode_content=False)",
        f"{TESTS}/test_controls.py::test_an_answer_without_an_end_fills_no_memory",
    ),
    "a picture has its digest": Safeguard(
        f"{PLANE}/ingest.py",
        "if body is not None and (came or await asyncio.to_thread(wire.digest, body)) != digest:",
        "if False:",
        f"{TESTS}/test_controls.py::test_a_picture_that_is_not_what_its_digest_says_is_refused",
    ),
    # What a device does for the plane
    "the site says whether the plane may write": Safeguard(
        f"{DEVICE}/orders.py",
        "        if not self._writes:",
        "        if False:",
        f"{TESTS}/test_between.py::test_orders_of_the_plane_are_off_until_the_site_says_otherwise",
    ),
    "the site says what may be written": Safeguard(
        "edge/writes.py",
        "if why := tag.writable.why_not(write.value, tag.name):",
        'if why := "":',
        "tests/edge/test_writes.py::test_what_the_site_does_not_allow_is_refused",
    ),
    "an order that comes too late is not done": Safeguard(
        "edge/writes.py",
        "if write.expires and mono > write.expires:",
        "if False:",
        "tests/edge/test_writes.py::test_what_waited_too_long_is_refused_not_sent_late",
    ),
    "what is asked of a device has a number at once": Safeguard(
        f"{DEVICE}/asked.py",
        "elif len(self._at_work) >= AT_ONCE:",
        "elif False:",
        f"{TESTS}/test_questions.py::test_more_at_once_than_are_answered_are_refused",
    ),
    "what is sent leaves alone what is the device's own": Safeguard(
        "edge/config/layers.py",
        '            tree.fault((section, option), "belongs to the device", hint, key=True)',
        "            pass",
        f"{TESTS}/test_twin_firmware.py::test_no_plane_names_a_command_that_runs_here",
    ),
    # Who did what
    "each change leaves a row": Safeguard(
        f"{PLANE}/entrance.py",
        '            if deed := self._deed(message["status"]):',
        "            if deed := None:",
        f"{TESTS}/test_matrix.py::test_each_route_that_changes_something_leaves_one_row",
    ),
    "a stranger fills no audit": Safeguard(
        f"{PLANE}/entrance.py",
        "(wait := self._strangers.take(self._origin))",
        "(wait := 0.0 * self._strangers.take(self._origin))",
        f"{TESTS}/test_audit.py::test_a_stranger_fills_no_audit",
    ),
    "what cannot be recorded is not said to be done": Safeguard(
        f"{PLANE}/entrance.py",
        "            await _refused(503, said, self._scope, self._receive, self._send)\n",
        "            self._dropped = False\n",
        f"{TESTS}/test_audit.py::test_what_cannot_be_recorded_is_not_said_to_be_done",
    ),
    "a row follows from those before it": Safeguard(
        f"{PLANE}/audit.py",
        'if row["hash"] != chained(row, before):',
        "if False:",
        f"{TESTS}/test_audit.py::test_a_hand_in_the_audit_is_found",
    ),
}
