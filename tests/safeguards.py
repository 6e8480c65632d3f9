"""Switch each safeguard off, one after the other, and see its test fail: `python -m tests.safeguards [NAME ...]`.

The table in docs/reliability.md says what is lost without each. A safeguard is a piece of the source and what stands there when it
is off. The tree is copied, so that nothing here changes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGES = ("edge", "drivers", "models", "sync", "configs", "tests", "docs", "setup.cfg", "pyproject.toml")


class Safeguard(NamedTuple):
    file: str
    on: str  # as it stands there
    off: str
    test: str


SAFEGUARDS: dict[str, Safeguard] = {
    "each commit is synced": Safeguard(
        "edge/journal.py",
        '"synchronous=FULL"',
        '"synchronous=NORMAL"',
        "tests/edge/test_faulty_disk.py::test_a_commit_is_on_the_disk_when_it_is_said_to_be",
    ),
    "a checksum for each record": Safeguard(
        "edge/sums.py",
        "    if table in BODIES:\n        return bool(",
        "    if table in BODIES:\n        return True or bool(",
        "tests/edge/test_journal.py::test_a_damaged_block_is_no_data_and_a_gap_tells_of_it_once",
    ),
    "a checksum over what stands beside it": Safeguard(
        "edge/sums.py",
        "    return crc is None or bool(",
        "    return True or bool(",
        "tests/edge/test_flips.py::test_a_value_beside_a_body_that_changed_is_no_data",
    ),
    "a missing number is told of": Safeguard(
        "edge/records.py",
        "        holes = untold(db, stream, after, out, ended)",
        "        holes: list[Hole] = []",
        "tests/edge/test_flips.py::test_a_row_that_a_page_hides_is_told_of",
    ),
    "pages of small tables are looked at": Safeguard(
        "edge/standing.py",
        "    _whole(db)\n    wrong = {",
        "    wrong = {",
        "tests/edge/test_flips.py::test_a_row_that_a_page_hides_is_told_of",
    ),
    "the id of a tag that is gone stays given": Safeguard(
        "edge/salvage.py",
        "            _count_tags(old, new)\n",
        "",
        "tests/edge/test_flips.py::test_a_row_that_a_page_hides_is_told_of",
    ),
    "a gap record stays until it is passed": Safeguard(
        "edge/retention.py",
        "if last > behind[stream]:",
        "if False:",
        "tests/edge/test_journal.py::test_a_gap_stays_told_until_every_reader_has_passed_it",
    ),
    "the reserve": Safeguard(
        "edge/journal.py",
        "if not self.room.reserve.release():",
        "if True:",
        "tests/edge/test_faulty_disk.py::test_an_update_starts_on_a_full_disk",
    ),
    "the budget counts log and reserve": Safeguard(
        "edge/room.py",
        "return self.at_most - self.log - self.reserve",
        "return self.at_most",
        "tests/edge/test_room.py::test_all_files_together_keep_to_the_budget",
    ),
    "pictures go first, events last": Safeguard(
        "edge/retention.py",
        "for step in (_pictures, _samples, partial(_events, told)):",
        "for step in (partial(_events, told), _samples, _pictures):",
        "tests/edge/test_room.py::test_classes_go_in_order_and_gap_records_never",
    ),
    "what is delivered goes before what is not": Safeguard(
        "edge/retention.py",
        "for waiting in (False, True)[: 1 + unsent]:",
        "for waiting in (True,):",
        "tests/edge/test_room.py::test_on_a_full_disk_what_is_new_takes_the_place_of_what_is_delivered",
    ),
    "gap records stay": Safeguard(
        "edge/retention.py",
        "seq > ? AND kind <> 'gap'",
        "seq > ? AND true",
        "tests/edge/test_room.py::test_classes_go_in_order_and_gap_records_never",
    ),
    "a gap record for what is evicted": Safeguard(
        "edge/retention.py",
        'return [lack(utc, stream, run, "evicted") for stream, found in runs.items() for run in joined(found)]',
        "return []",
        "tests/edge/test_journal.py::test_above_its_size_delivered_goes_first_and_the_undelivered_leaves_a_gap",
    ),
    "nothing goes before it is acknowledged": Safeguard(
        "edge/retention.py",
        "return min(next((mark for _, _, mark, _ in one), 0) for one in found)",
        "return 2**62",
        "tests/edge/test_journal.py::test_above_its_size_delivered_goes_first_and_the_undelivered_leaves_a_gap",
    ),
    "history stays as long as it was asked to": Safeguard(
        "edge/committing.py",
        "cut = utc - keep if",
        "cut = utc if",
        "tests/edge/test_journal.py::test_nothing_delivered_is_dropped_before_its_time",
    ),
    "events and commands commit at once": Safeguard(
        "edge/journal.py",
        "if events or pictures or pending.half_full():",
        "if pictures or pending.half_full():",
        "tests/edge/test_journal.py::test_an_event_does_not_wait_for_the_commit_window",
    ),
    "events do not wait for a full disk": Safeguard(
        "edge/room.py",
        "            self._commit_urgent(db, pending, readers, commit)\n",
        "",
        "tests/edge/test_journal.py::test_a_full_disk_is_said_and_heals_and_loses_nothing",
    ),
    "what the disk refused comes back": Safeguard(
        "edge/committing.py",
        "        pending.follow(self._pending)\n        self._pending = pending\n",
        "",
        "tests/edge/test_journal.py::test_a_full_disk_is_said_and_heals_and_loses_nothing",
    ),
    "what gives way in memory is told": Safeguard(
        "edge/pending.py",
        "        self.events.extend(told)\n",
        "",
        "tests/edge/test_journal.py::test_a_long_full_disk_gives_up_the_oldest_with_a_gap_and_keeps_events",
    ),
    "the tail is replayed": Safeguard(
        "edge/journal.py",
        "        self._torn = damaged\n        return found",
        "        self._torn = damaged\n        return {}",
        "tests/edge/test_journal.py::test_what_was_durable_at_a_hard_stop_is_there_once",
    ),
    "a sealed block empties its tail": Safeguard(
        "edge/rows.py",
        '    db.execute("DELETE FROM tail WHERE stream = ?", (stream,))\n',
        "",
        "tests/edge/test_journal.py::test_what_was_durable_at_a_hard_stop_is_there_once",
    ),
    "a number is given once": Safeguard(
        "edge/salvage.py",
        "            numbers.count(new, given)\n",
        "",
        "tests/edge/test_salvage.py::test_any_page_may_be_spoilt",
    ),
    "what cannot be saved is told": Safeguard(
        "edge/salvage.py",
        "told = [*_gaps(new, utc), *_tail_gaps(new, utc, saved)]",
        "told = []",
        "tests/edge/test_salvage.py::test_what_a_destroyed_page_held_is_told_in_the_new_file",
    ),
    "the first page is known": Safeguard(
        "edge/damaged.py",
        "if not migrations.sound(db):",
        "if False:",
        "tests/edge/test_salvage.py::test_any_page_may_be_spoilt",
    ),
    "rows are found without the tree that named them": Safeguard(
        "edge/salvage.py",
        "            if saved.torn:\n",
        "            if False:\n",
        "tests/edge/test_salvage.py::test_any_page_may_be_spoilt",
    ),
    "the new file is whole before it takes the old one's place": Safeguard(
        "edge/salvage.py",
        "    _sync(new)\n",
        "",
        "tests/edge/test_salvage.py::test_a_new_file_is_on_the_disk_before_it_takes_the_place_of_the_old",
    ),
    "a bad sector is damage": Safeguard(
        "edge/disk.py",
        "not in READ_FAULTS:\n            raise\n",
        "not in ():\n            raise\n",
        "tests/edge/test_faulty_disk.py::test_a_sector_that_cannot_be_read_is_damage_too",
    ),
    "a migration is one transaction": Safeguard(
        "edge/migrations.py",
        "        with transaction(db):\n            db.execute(step)",
        "        with contextlib.nullcontext():\n            db.execute(step)",
        "tests/edge/test_migrations.py::test_a_cut_at_any_write_leaves_the_old_schema_or_the_new",
    ),
    "a journal of a newer release is left alone": Safeguard(
        "edge/migrations.py",
        "    if version > len(STEPS):",
        "    if False:",
        "tests/edge/test_journal.py::test_a_newer_schema_is_refused_and_left_alone",
    ),
    "one owner": Safeguard(
        "edge/state.py",
        "fcntl.LOCK_EX | fcntl.LOCK_NB",
        "fcntl.LOCK_SH | fcntl.LOCK_NB",
        "tests/edge/test_journal.py::test_a_second_daemon_is_told_who_owns_the_journal",
    ),
    "CLOCK_UNSURE": Safeguard(
        "edge/outlet.py",
        "batch if is_sure(self.clock) else unsure(batch, self.clock.utc())",
        "batch",
        "tests/edge/test_clock.py::test_what_a_driver_emits_says_that_the_clock_is_not_set",
    ),
    "a time of the device is not doubted": Safeguard(
        "edge/timekeeping.py",
        "(batch.quality == Quality.GOOD) & (np.abs(batch.ts - now) < OURS)",
        "batch.quality == Quality.GOOD",
        "tests/edge/test_clock.py::test_what_a_device_stamped_itself_is_not_doubted",
    ),
    "samples are moved when the clock is set": Safeguard(
        "edge/timekeeping.py",
        "            self._journal.rebase(self._since - OURS, before + OURS, step)\n",
        "",
        "tests/edge/test_clock.py::test_what_was_stamped_before_the_clock_was_set_is_moved_once",
    ),
    "they are moved once": Safeguard(
        "edge/timekeeping.py",
        "if (step := clock.look()) and not clock.sure:",
        "if step := clock.look():",
        "tests/edge/test_clock.py::test_what_was_stamped_before_the_clock_was_set_is_moved_once",
    ),
    "stamps of an earlier start are left alone": Safeguard(
        "edge/committing.py",
        "                open_ = tail.close_earlier(self._db, open_, now, utc)\n",
        "                pass\n",
        "tests/edge/test_clock.py::test_what_an_earlier_start_left_behind_is_not_moved_by_how_far_the_clock_is_off_now",
    ),
    "a clock that was just set tells no age": Safeguard(
        "edge/committing.py",
        "cut = utc - keep if self._age.trusted(now, utc) else 0",
        "cut = utc - keep",
        "tests/edge/test_clock.py::test_a_clock_that_was_set_by_mistake_takes_no_history",
    ),
    "blocks wait for the clock": Safeguard(
        "edge/committing.py",
        "hold = pending.urgent or (not is_sure(self.clock) and now < self._held_until)",
        "hold = pending.urgent",
        "tests/edge/test_clock.py::test_what_was_stamped_before_the_clock_was_set_is_moved_once",
    ),
    "intervals by a clock that nobody sets": Safeguard(
        "edge/committing.py",
        "now, utc, totals = self.clock.mono(), self.clock.utc(), self.totals",
        "now, utc, totals = self.clock.utc(), self.clock.utc(), self.totals",
        "tests/edge/test_clock.py::test_a_block_closes_by_a_clock_that_nobody_sets",
    ),
    "metadata below the floor is refused": Safeguard(
        "sync/device/floor.py",
        "            if version < seen:",
        "            if False and version < seen:",
        "tests/sync/test_updates.py::test_an_older_root_is_not_believed_again",
    ),
    "nothing is taken that the site does not allow": Safeguard(
        "sync/device/uplink.py",
        "for kind, make in made.items() if kind in self.config.installs}",
        "for kind, make in made.items()}",
        "tests/sync/test_twin.py::test_what_a_site_does_not_allow_is_refused_in_words_and_once",
    ),
    "a document says nothing of what belongs to the device": Safeguard(
        "edge/config/layers.py",
        "    for section, options in _own(tree.data).items():",
        "    for section, options in dict[str, dict[str, Any]]().items():",
        "tests/edge/test_sent.py::test_what_is_not_kept_leaves_the_old_one",
    ),
    "a document reads no file of the plane": Safeguard(
        "edge/config/places.py",
        '        if node.tag == "!include" and not chain:',
        '        if node.tag == "!include" and False:',
        "tests/edge/test_layers.py::test_what_no_document_says",
    ),
    "a document is for whom it is wanted of": Safeguard(
        "sync/control_plane/config.py",
        "    return document(connection, version) if connection.execute(wanted).first() else None",
        "    return document(connection, version)",
        "tests/sync/test_config.py::test_a_document_is_for_whom_it_is_wanted_of",
    ),
    "a site takes signed configurations alone": Safeguard(
        "sync/device/twin_config.py",
        "        if self._signed:\n",
        "        if False:\n",
        "tests/sync/test_twin_config.py::test_a_site_may_take_signed_ones_alone",
    ),
    "a document is what its version says": Safeguard(
        "sync/device/twin_config.py",
        "        if hashlib.sha256(body).hexdigest()[: len(want.version)] != want.version:",
        "        if False:",
        "tests/sync/test_twin_config.py::test_a_document_that_is_not_what_was_wanted_is_not_taken",
    ),
    "a trial that was cut off is over": Safeguard(
        "edge/sent.py",
        '            self.stands = replace(self.stands, trying="", ended=ended)\n            self._write_anyhow()\n',
        "",
        "tests/edge/test_sent.py::test_a_trial_that_is_killed_is_over",
    ),
    "what was sent counts when it has proved itself": Safeguard(
        "edge/sent.py",
        "self._write(replace(self.stands, trying=version or self.own.name, generation=generation))",
        "self._write(replace(self.stands, running=version, trying=version or self.own.name, generation=generation))",
        "tests/edge/test_sent.py::test_a_trial_that_is_killed_is_over",
    ),
    "who changes a layer holds every device of it": Safeguard(
        "sync/control_plane/config_api.py",
        '    return asks.whole if kind == "class" else asks.holds_device(c, rest)',
        '    return True if kind == "class" else asks.holds_device(c, rest)',
        "tests/sync/test_config.py::test_a_layer_is_for_who_holds_every_device_of_it",
    ),
    "an update is for a class of devices": Safeguard(
        "sync/device/updates.py",
        "        if manifest.fits and not",
        "        if False and manifest.fits and not",
        "tests/sync/test_updates.py::test_an_artefact_for_another_class_is_not_even_fetched",
    ),
    "an update is read once more from the disk": Safeguard(
        "sync/device/download.py",
        "    if found != digest:",
        "    if False and found != digest:",
        "tests/sync/test_updates.py::test_a_flipped_bit_is_found_under_way_and_on_the_disk",
    ),
    "who signs a kind signs no other": Safeguard(
        "sync/device/updates.py",
        ' if path.startswith(f"{kind}/")}',
        "}",
        "tests/sync/test_updates.py::test_a_kind_signs_only_what_it_is_for",
    ),
    "time is believed of two persons": Safeguard(
        "sync/device/updates.py",
        "max(_signed_at(root), _signed_at(targets))",
        "max(_signed_at(root), _signed_at(targets), *(_signed_at(_read(work, k, Targets)) for k in kinds))",
        "tests/sync/test_updates.py::test_a_time_that_one_stolen_key_says_is_not_believed",
    ),
    "a root has two signatures": Safeguard(
        "sync/updates/repository.py",
        "THRESHOLD, LEAST_ROOT = 2, 3",
        "THRESHOLD, LEAST_ROOT = 1, 3",
        "tests/sync/test_signing.py::test_a_new_root_needs_two_of_the_old_and_two_of_the_new",
    ),
    "a model proves itself before it runs": Safeguard(
        "sync/device/install.py",
        '            find_part("proofs", "model")(fresh)\n',
        "            pass\n",
        "tests/updates/test_install.py::test_one_that_does_not_prove_itself_is_not_switched_to",
    ),
    "a model is switched to at once": Safeguard(
        "edge/links.py",
        "    fresh.replace(link)\n",
        "    link.unlink(missing_ok=True)\n    fresh.rename(link)\n",
        "tests/updates/test_install.py::test_an_update_that_is_cut_leaves_a_running_model",
    ),
    "a record is what was signed": Safeguard(
        "sync/verify.py",
        "        elif not _same(frame, listed[place]):",
        "        elif False:",
        "tests/sync/test_evidence.py::test_what_was_done_to_an_export_is_found",
    ),
    "what nothing proves is told": Safeguard(
        "sync/verify.py",
        '            out.faults.append(Fault("added", f"{words} is in no checkpoint"))',
        "            pass",
        "tests/sync/test_evidence.py::test_what_was_done_to_an_export_is_found",
    ),
    "what is listed has to be there": Safeguard(
        "sync/verify.py",
        "        for a, b in _runs(n for n in numbers if n not in lost):",
        "        for a, b in _runs(n for n in numbers if False):",
        "tests/sync/test_evidence.py::test_what_was_done_to_an_export_is_found",
    ),
    "a number between two is missing": Safeguard(
        "sync/verify.py",
        "            yield from ((stream, n) for n in range(low, high + 1))",
        "            yield from ((s, n) for one in mine for s, n in one.listed() if s == stream)",
        "tests/sync/test_evidence.py::test_what_a_device_does_not_list_is_left_out",
    ),
    "each checkpoint follows the one before": Safeguard(
        "sync/verify.py",
        "            if one.before != before:",
        "            if False:",
        "tests/sync/test_evidence.py::test_a_past_that_was_written_anew_is_seen",
    ),
    "a checkpoint is there once": Safeguard(
        "sync/verify.py",
        "            if heads[one.epoch, one.number] != checkpoint.head(signed.statement):",
        "            if False:",
        "tests/sync/test_evidence.py::test_a_past_that_was_written_anew_is_seen",
    ),
    "every checkpoint of the time is there": Safeguard(
        "sync/verify.py",
        '            out.faults.append(Fault("chain", f"checkpoints {a} to {b} of journal {epoch} are left out"))',
        "            pass",
        "tests/sync/test_evidence.py::test_what_was_done_to_an_export_is_found",
    ),
    "a time begins where it says": Safeguard(
        "sync/verify.py",
        "    if not all(one is not None and one.ts <= since for one in begins):",
        "    if False:",
        "tests/sync/test_evidence.py::test_a_time_whose_beginning_or_end_is_not_there_is_not_whole",
    ),
    "a time ends where it says": Safeguard(
        "sync/verify.py",
        "    if not any(one is not None and one.ts >= until for one in ends):",
        "    if False:",
        "tests/sync/test_evidence.py::test_a_time_whose_beginning_or_end_is_not_there_is_not_whole",
    ),
    "the device's own signature": Safeguard(
        "sync/verify.py",
        "        if not checkpoint.check(checkpoint.public(one.key), signed.statement, signed.signature):",
        "        if False:",
        "tests/sync/test_evidence.py::test_the_plane_signs_nothing_for_a_device",
    ),
    "a checkpoint is of this device": Safeguard(
        "sync/verify.py",
        "    if one.device != out.device:",
        "    if False:",
        "tests/sync/test_evidence.py::test_records_of_another_device_do_not_pass_for_its_own",
    ),
    "the countersignature is about this checkpoint": Safeguard(
        "sync/countersignature.py",
        "    if not isinstance(arrived, int) or said != statement(one, head, arrived):",
        "    if False:",
        "tests/sync/test_evidence.py::test_a_chain_that_another_key_signed_is_not_the_devices",
    ),
    "the plane's own signature": Safeguard(
        "sync/verify.py",
        "        if not countersignature.signs(own, signed.countersigned, signed.proof, arrived):",
        "        if False:",
        "tests/sync/test_evidence.py::test_what_was_done_to_an_export_is_found",
    ),
    "a device countersigns nothing": Safeguard(
        "sync/countersignature.py",
        "    if name != WITNESS or ExtendedKeyUsageOID.TIME_STAMPING not in uses:",
        "    if False:",
        "tests/sync/test_evidence.py::test_a_device_countersigns_nothing",
    ),
    "the witness is of this authority": Safeguard(
        "sync/verify.py",
        "        if countersignature.authority_of(above) != out.authority:",
        "        if False:",
        "tests/sync/test_evidence.py::test_another_plane_vouches_for_nothing",
    ),
    "the authority is the one that was named": Safeguard(
        "sync/verify.py",
        "    if authority and out.authority != authority.lower():",
        "    if False:",
        "tests/sync/test_evidence.py::test_what_was_recorded_is_proven_by_the_export_alone",
    ),
    "the plane signs what an export is about": Safeguard(
        "sync/verify.py",
        "        if not countersignature.signs(own, export.statement, proof, made):",
        "        if False:",
        "tests/sync/test_evidence.py::test_what_was_done_to_an_export_is_found",
    ),
    "a picture is its digest": Safeguard(
        "sync/verify.py",
        "        if hashlib.sha256(export.picture(digest)).hexdigest() != digest:",
        "        if False:",
        "tests/sync/test_evidence.py::test_what_was_done_to_an_export_is_found",
    ),
    "a picture that an event names is there": Safeguard(
        "sync/verify.py",
        "        if digest not in here | wrong:",
        "        if False:",
        "tests/sync/test_evidence.py::test_what_was_done_to_an_export_is_found",
    ),
    "a key that was enrolled": Safeguard(
        "sync/control_plane/witness.py",
        "        if connection.scalar(own) is None:",
        "        if False:",
        "tests/sync/test_evidence.py::test_the_plane_vouches_for_no_key_that_was_not_enrolled",
    ),
    "the plane looks at the signature first": Safeguard(
        "sync/control_plane/witness.py",
        '        if not checkpoint.check(checkpoint.public(one.key), row["statement"], row["signature"]):',
        "        if False:",
        "tests/sync/test_evidence.py::test_the_plane_vouches_for_nothing_that_is_not_signed_so",
    ),
    "large blocks come apart as they were signed": Safeguard(
        "sync/control_plane/compact.py",
        "        if body and self._signed and not _comes_apart(run, body):",
        "        if False:",
        "tests/sync/test_evidence.py::test_blocks_that_would_not_come_apart_stay_as_they_came",
    ),
    "the old key signs the new one": Safeguard(
        "sync/replacement.py",
        "    if not checkpoint.check(checkpoint.public(key), statement, signature):",
        "    if False:",
        "tests/sync/test_box.py::test_another_key_replaces_nobody",
    ),
    "only who is the device hands it on": Safeguard(
        "sync/control_plane/replace.py",
        "    mine = update(t).where(t.c.id == wanted.device, t.c.key.in_((wanted.old, wanted.new)), t.c.revoked == 0)",
        "    mine = update(t).where(t.c.id == wanted.device, t.c.revoked == 0)",
        "tests/sync/test_box.py::test_another_key_replaces_nobody",
    ),
    "a box that was replaced is let in no more": Safeguard(
        "sync/control_plane/replace.py",
        "mine.values(key=wanted.new, secret=secret)",
        "mine.values(secret=secret)",
        "tests/sync/test_box.py::test_a_backup_that_was_used_is_of_no_use_again",
    ),
    "numbers go on where the plane stands": Safeguard(
        "sync/device/box.py",
        "max(given.get(stream, 0), stands.get(stream, Cursor()).last())",
        "given.get(stream, 0)",
        "tests/sync/test_box.py::test_the_new_box_goes_on_and_the_old_one_is_refused",
    ),
    "a backup writes into its folders": Safeguard(
        "sync/device/box.py",
        '            if ".." in PurePosixPath(rest).parts or PurePosixPath(rest).is_absolute():',
        "            if False:",
        "tests/sync/test_box.py::test_a_backup_writes_nowhere_else",
    ),
    "the site says what it answers": Safeguard(
        "sync/device/asked.py",
        "        elif verb not in self._allowed:",
        "        elif False:",
        "tests/sync/test_questions.py::test_what_cannot_be_answered_is_said",
    ),
    "a question that comes too late is not begun": Safeguard(
        "sync/device/asked.py",
        "        if not known or age > lives:",
        "        if not known:",
        "tests/sync/test_questions.py::test_an_order_whose_time_is_over_is_not_begun",
    ),
    "a bundle has no secret": Safeguard(
        "edge/diagnosis.py",
        "MASK if _HIDDEN.search(str(k)) and not isinstance(v, Secret) else masked(v)",
        "masked(v)",
        "tests/sync/test_questions.py::test_what_looks_like_a_secret_is_masked",
    ),
    "a question with the same id is the same one": Safeguard(
        "sync/control_plane/queued.py",
        '    if same := data.get("id"):',
        '    if same := "":',
        "tests/sync/test_questions.py::test_the_same_id_is_the_same_order",
    ),
    "a passphrase opens a backup whole or not at all": Safeguard(
        "sync/device/sealed.py",
        ".encrypt(nonce, body, MAGIC + head)",
        '.encrypt(nonce, body, b"")',
        "tests/sync/test_box.py::test_a_passphrase_opens_it_and_nothing_else_does",
    ),
}


def off(one: Safeguard, tree: Path) -> bool:
    """Whether its test fails without it."""
    path = tree / one.file
    whole = path.read_text("utf-8")
    if whole.count(one.on) != 1:
        raise SystemExit(f"{one.file}: {one.on!r} is there {whole.count(one.on)} times")
    path.write_text(whole.replace(one.on, one.off), "utf-8")
    command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", one.test]
    try:
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{one.test} hangs without it: let it give up sooner") from None
    finally:
        path.write_text(whole, "utf-8")
    if done.returncode not in (0, 1):
        raise SystemExit(f"{one.test} cannot be run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


def main(names: list[str]) -> int:
    from tests.controls import CONTROLS

    wanted = {name: one for name, one in (SAFEGUARDS | CONTROLS).items() if name in names or not names}
    noticed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in PACKAGES:
            source = ROOT / name
            skip = shutil.ignore_patterns("node_modules", "__pycache__", "*.pyc")
            shutil.copytree(source, Path(folder) / name, ignore=skip) if source.is_dir() else shutil.copy(
                source, folder
            )
        for name, one in wanted.items():
            seen = off(one, Path(folder))
            noticed += seen
            print(f"{'noticed' if seen else 'NOT NOTICED'}: without `{name}` ({one.test})", file=sys.stderr, flush=True)
    print(json.dumps({"safeguards": len(wanted), "noticed": noticed}))
    return noticed < len(wanted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
