// What an asset is: a new one, or one that is changed.
import { useEffect, useState } from "preact/hooks";
import { devicesOf, failed, get, send, type Tag } from "./api";
import type { Asset, Rule } from "./assets";
import { Dialog, localTime, secondsOf } from "./dialog";
import { useFresh } from "./show";
import { placesOf } from "./signin";
import { t } from "./words";

type Source = "running" | "counter" | "nothing";
const SOURCES = [["running", "fromRunning"], ["counter", "fromCounter"], ["nothing", "fromNothing"]] as const;

export function AssetForm({ of, close, done }: { of?: Asset; close: () => void; done: (number: number) => void }) {
  const [source, setSource] = useState<Source>(of?.counter ? "counter" : of && !of.running ? "nothing" : "running"), [device, setDevice] = useState(of?.device ?? "");
  const [rules, setRules] = useState<Rule[]>(of?.rules?.length ? of.rules : of ? [] : [{ what: "" }]);
  const [tree] = useFresh<{ place: string }[]>(() => get("/api/tree"), () => false, []);
  const [devices] = useFresh<string[]>(() => devicesOf("limit=500").then((page) => page.devices.map((d) => d.id)), () => false, []);
  const [tags, setTags] = useState<string[]>([]);
  useEffect(() => {
    if (!device || !devices?.includes(device)) return setTags([]);
    let gone = false;
    get<Tag[]>(`/api/devices/${encodeURIComponent(device)}/tags`).then((all) => { if (!gone) setTags(all.filter((tag) => tag.type !== "text").map((tag) => tag.name)); }, failed);
    return () => { gone = true; };
  }, [device, devices]);
  const act = async (said: FormData) => {
    const text = (name: string) => String(said.get(name) ?? "").trim(), real = (name: string) => Number(said.get(name) || 0);
    const moved = (name: "begun" | "retired") => said.get(name) !== localTime(of?.[name] ?? 0); // the input knows whole minutes
    const body = {
      id: text("id"), name: text("name"), place: text("place"), class: text("class"), device, tags: text("tags"),
      running: source === "running" && device ? text("tag") : "", counter: source === "counter" ? text("tag") : "", above: source === "running" ? real("above") : of?.above ?? 0,
      before: real("before"), retired: moved("retired") ? secondsOf(said.get("retired")) ?? 0 : of?.retired ?? 0, ...(said.get("begun") && moved("begun") ? { begun: secondsOf(said.get("begun")) } : {}),
      rules: rules.filter((rule) => rule.what.trim()).map((rule) => ({ what: rule.what.trim(), ...(rule.hours ? { hours: rule.hours } : {}), ...(rule.days ? { days: rule.days } : {}) })),
    };
    if (of) await send("PUT", `/api/assets/${of.number}${said.get("recount") ? "?recount=true" : ""}`, body);
    done(of ? of.number : (await send<{ number: number }>("POST", "/api/assets", body)).number);
  };
  const rule = (at: number, more: Partial<Rule>) => setRules(rules.map((one, k) => (k === at ? { ...one, ...more } : one)));
  const places = [...new Set([...placesOf("asset"), ...(tree ?? []).map((one) => one.place)])].filter(Boolean);
  return (
    <Dialog title={of ? of.id : t("newAsset").replace(/ ?…$/, "")} word={t("keepAsset")} close={close} act={act}>
      <label>{t("itsId")} <input name="id" required maxLength={64} pattern="[\p{L}\p{N}_.\-]+" defaultValue={of?.id} autocomplete="off" placeholder="P-101" /></label>
      <label>{t("itsName")} <input name="name" maxLength={200} defaultValue={of?.name} autocomplete="off" /></label>
      <label>{t("place")} <input name="place" maxLength={200} list="asset-places" defaultValue={of?.place ?? (placesOf("asset").includes("") ? "" : placesOf("asset")[0])} placeholder={t("wholePlane")} /></label>
      <label>{t("itsClass")} <input name="class" maxLength={200} defaultValue={of?.class} placeholder="water_pump" /></label>
      <label>{t("itsDevice")} <input maxLength={64} list="asset-devices" value={device} onInput={(e) => setDevice(e.currentTarget.value.trim())} /></label>
      <label>{t("tagsBegin")} <input name="tags" maxLength={200} defaultValue={of?.tags} placeholder={t("allTags")} disabled={!device} /></label>
      <label>{t("hoursFrom")} <select value={source} onChange={(e) => setSource(e.currentTarget.value as Source)} disabled={!device}>{SOURCES.map(([value, word]) => <option key={value} value={value}>{t(word)}</option>)}</select></label>
      {source === "nothing" || !device ? null : <label>{t("whichTag")} <input name="tag" maxLength={200} list="asset-tags" defaultValue={of?.counter || of?.running} /></label>}
      {source === "running" && device ? <label>{t("runsAbove")} <input name="above" type="number" step="any" defaultValue={of?.above ?? 0} /></label> : null}
      <label>{t("begunAt")} <input name="begun" type="datetime-local" defaultValue={localTime(of?.begun ?? 0)} /></label>
      <label>{t("hoursBefore")} <input name="before" type="number" step="any" min={0} defaultValue={of?.before ?? 0} /></label>
      {of ? <label>{t("retiredAt")} <input name="retired" type="datetime-local" defaultValue={localTime(of.retired)} /></label> : null}
      {of && device && source !== "nothing" ? <div class="checks"><label><input name="recount" type="checkbox" /> {t("countAgain")}</label></div> : null}
      <fieldset><legend>{t("dueTitle")}</legend>
        {rules.map((one, k) => (
          <div class="line" key={k}>
            <input aria-label={t("ruleWhat")} placeholder={t("ruleWhat")} maxLength={200} value={one.what} onInput={(e) => rule(k, { what: e.currentTarget.value })} />
            <input aria-label={t("everyHours")} placeholder={t("everyHours")} type="number" step="any" min={0} value={one.hours ?? ""} onInput={(e) => rule(k, { hours: Number(e.currentTarget.value) || null })} />
            <input aria-label={t("everyDays")} placeholder={t("everyDays")} type="number" step="any" min={0} value={one.days ?? ""} onInput={(e) => rule(k, { days: Number(e.currentTarget.value) || null })} />
            <button type="button" aria-label={`${t("takeRuleAway")}: ${one.what}`} title={t("takeRuleAway")} onClick={() => setRules(rules.filter((_, j) => j !== k))}>✕</button>
          </div>
        ))}
        <button type="button" disabled={rules.length >= 20} onClick={() => setRules([...rules, { what: "" }])}>{t("oneMoreRule")}</button>
      </fieldset>
      <datalist id="asset-places">{places.map((one) => <option key={one} value={one} />)}</datalist>
      <datalist id="asset-devices">{(devices ?? []).map((one) => <option key={one} value={one} />)}</datalist>
      <datalist id="asset-tags">{tags.map((one) => <option key={one} value={one} />)}</datalist>
    </Dialog>
  );
}
