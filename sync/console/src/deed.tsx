// What was done to an asset, and which parts came and went.
import { useState } from "preact/hooks";
import { send } from "./api";
import type { Rule } from "./assets";
import { Dialog, localTime, secondsOf } from "./dialog";
import { t } from "./words";

export interface Part { number: number; position: string; part: string; serial: string; installed: number; installed_by: string; removed: number; removed_by: string; note: string; ran: number | null }
type Came = { position: string; part: string; serial: string };

/** `rule` is what it was chosen for; `keep` tells the plane. */
export function DeedForm({ title, rules, rule = "", parts, keep, close }: { title: string; rules: Rule[]; rule?: string; parts: Part[]; keep: (deed: object) => Promise<unknown>; close: () => void }) {
  const [came, setCame] = useState<Came[]>([]);
  const change = (at: number, more: Partial<Came>) => setCame(came.map((one, k) => (k === at ? { ...one, ...more } : one)));
  const act = (said: FormData) => keep({
    did: String(said.get("did")).trim(), rule: String(said.get("rule") ?? ""), parts: came.filter((one) => one.position.trim()), ...(said.get("at") ? { at: secondsOf(said.get("at")) } : {}),
  });
  return (
    <Dialog title={title} word={t("keepDeed")} close={close} act={act}>
      <label class="whole">{t("didWhat")} <textarea name="did" required maxLength={4000} rows={3} /></label>
      {rules.length ? <label>{t("whichRule")} <select name="rule"><option value="">{t("noRule2")}</option>{rules.map((one) => <option key={one.what} value={one.what} selected={one.what === rule}>{one.what}</option>)}</select></label> : null}
      <label>{t("whenDone")} <input name="at" type="datetime-local" max={localTime(Date.now() / 1000)} /></label>
      <fieldset><legend>{t("partsChanged")}</legend>
        {came.map((one, k) => (
          <div class="line" key={k}>
            <input aria-label={t("position")} placeholder={t("position")} required maxLength={200} list="positions" value={one.position} onInput={(e) => change(k, { position: e.currentTarget.value })} />
            <input aria-label={t("partNumber")} placeholder={t("partNumber")} maxLength={200} value={one.part} onInput={(e) => change(k, { part: e.currentTarget.value })} />
            <input aria-label={t("serial")} placeholder={t("serial")} maxLength={200} value={one.serial} onInput={(e) => change(k, { serial: e.currentTarget.value })} />
            <button type="button" aria-label={`${t("takeRuleAway")}: ${one.position}`} title={t("takeRuleAway")} onClick={() => setCame(came.filter((_, j) => j !== k))}>✕</button>
          </div>
        ))}
        {came.length ? <p class="quiet">{t("onlyOut")}</p> : null}
        <button type="button" disabled={came.length >= 50} onClick={() => setCame([...came, { position: "", part: "", serial: "" }])}>{t("oneMorePart")}</button>
      </fieldset>
      <Positions parts={parts} />
    </Dialog>
  );
}

const Positions = ({ parts }: { parts: Part[] }) => <datalist id="positions">{[...new Set(parts.map((one) => one.position))].map((one) => <option key={one} value={one} />)}</datalist>;

/** A part in the place of another one, or at a new position. */
export function PartForm({ asset, instead, parts, close, again }: { asset: number; instead: Part | null; parts: Part[]; close: () => void; again: () => void }) {
  const act = (said: FormData) => {
    const at = secondsOf(said.get("at")), text = (name: string) => String(said.get(name) ?? "").trim();
    return send("POST", `/api/assets/${asset}/parts${at === undefined ? "" : `?at=${at}`}`, { position: text("position"), part: text("part"), serial: text("serial"), note: text("note") }).then(again);
  };
  return (
    <Dialog title={instead ? `${instead.position}: ${instead.part}` : t("buildIn").replace(/ ?…$/, "")} word={t("keepDeed")} close={close} act={act}>
      <label>{t("position")} <input name="position" required maxLength={200} list="positions" defaultValue={instead?.position} readOnly={!!instead} /></label>
      <label>{t("partNumber")} <input name="part" maxLength={200} defaultValue={instead?.part} required={!instead} /></label>
      <label>{t("serial")} <input name="serial" maxLength={200} autocomplete="off" /></label>
      <label>{t("whenDone")} <input name="at" type="datetime-local" max={localTime(Date.now() / 1000)} /></label>
      <label class="whole">{t("note")} <input name="note" maxLength={4000} /></label>
      {instead ? <p class="quiet">{t("onlyOut")}</p> : null}
      <Positions parts={parts} />
    </Dialog>
  );
}
