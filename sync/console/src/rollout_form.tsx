// How a rollout begins: what goes where in which waves, and folded away the limits, hours and gates, which have their defaults.
import { type ComponentChildren, createContext } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import { devicesOf, failed, get, send } from "./api";
import { sentence } from "./sentences";
import { number, severityOrder, useFocus, useFresh, weekday } from "./show";
import { placesOf } from "./signin";
import { known, t, type Word } from "./words";

const SOAKS = [["10min", 10, "minutes"], ["30min", 30, "minutes"], ["2h", 2, "hours"], ["24h", 24, "hours"]] as const;
const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
type Faults = Record<string, string>;
const Refused = createContext<Faults>({});

/** What is asked in one place: `name` is where the plan has it, and where the plane's refusal of it is shown. */
function Asked({ name, word, children }: { name: string; word: string; children: ComponentChildren }) {
  return <div class="field" data-name={name}><label>{word} {children}</label><Fault at={name} /></div>;
}
function Fault({ at }: { at: string }) {
  const fault = useContext(Refused)[at];
  return fault ? <span class="bad" role="alert">{sentence(fault)}</span> : null;
}

const whole = (text: string) => (/^\d+$/.test(text) ? Number(text) : text);
const percent = (text: string) => (/^[\d.]+$/.test(text) ? `${text}%` : text);
const minutes = (text: string) => (/^[\d.]+$/.test(text) ? `${text}min` : text);
/** How the fields of the fold say what the plan has under their names; an empty one is left to its default. */
const MEANS: [RegExp, (text: string) => unknown][] = [
  [/^per_|\.(at_least|parts)$/, whole], [/\.most$/, percent], [/\.after$/, minutes], [/\.severity$/, (least) => severityOrder.slice(0, severityOrder.indexOf(least) + 1).reverse()],
];

/** The fields of a form as one plan: `hours.0.from` is in `hours`, its first, under `from`; hours of which nothing is said are there, too. */
function planned(said: FormData, into: Record<string, any>): Record<string, any> {
  for (const name of new Set(said.keys())) {
    const all = said.getAll(name).map((one) => String(one).trim()).filter(Boolean), steps = name.split("."), last = steps.pop()!;
    let at: any = into;
    steps.forEach((step, k) => { at = at[step] ??= /^\d+$/.test(steps[k + 1] ?? last) ? [] : {}; });
    if (all.length) at[last] = last === "days" ? all : (MEANS.find(([pattern]) => pattern.test(name))?.[1] ?? String)(all[0]);
  }
  return into;
}

/** What the plane said, each line beside the field that it is about; the rest under "". */
function placed(text: string, form: HTMLFormElement): Faults {
  const names = [...form.querySelectorAll<HTMLElement>("[data-name]")].map((one) => one.dataset.name!);
  const out: Faults = {};
  for (const line of text.split("\n")) {
    const [, path, said] = /^([\w.]+): (.+)$/.exec(line) ?? [];
    const at = path ? names.filter((name) => path === name || path.startsWith(`${name}.`)).sort((a, b) => b.length - a.length)[0] : "";
    const fault = at ? said.replace(/, it belongs under [\w.]+$/, "") : line;
    out[at ?? ""] = out[at ?? ""] ? `${out[at ?? ""]}; ${fault}` : fault;
  }
  return out;
}

export function RolloutForm({ close }: { close: () => void }) {
  const places = placesOf("roll"), everywhere = places.includes("");
  const [there] = useFresh<string[]>(() => get("/api/updates"), () => false, []);
  const [what, setWhat] = useState(""), [kind, setKind] = useState(""), [site, setSite] = useState(everywhere ? "" : places[0] ?? ""), [all, setAll] = useState(false);
  const [fit, setFit] = useState<number | null>(null), [faults, setFaults] = useState<Faults>({}), [busy, setBusy] = useState(false), [open, setOpen] = useState(false);
  const begins = useFocus<HTMLSelectElement>(), form = useRef<HTMLFormElement>(null);
  const named = !!(kind.trim() || site.trim()), chosen = named || all;
  useEffect(() => {
    setFit(null);
    if (!chosen) return;
    let gone = false;
    const words = new URLSearchParams({ limit: "1", class: kind.trim(), site: site.trim() });
    const timer = window.setTimeout(() => devicesOf(String(words)).then((page) => { if (!gone) setFit(page.total); }, failed), 250);
    return () => { gone = true; window.clearTimeout(timer); };
  }, [kind, site, chosen]);
  useEffect(() => { form.current?.querySelector<HTMLElement>(".field:has(> [role=alert]) :is(input, select)")?.focus(); }, [faults]);
  const begin = (e: Event) => {
    e.preventDefault();
    setBusy(true);
    setFaults({});
    const said = new FormData(form.current!), waves = String(said.get("waves")).split(/[,，\s]+/).filter(Boolean).map(whole);
    said.delete("waves");
    const plan = planned(said, { waves, devices: named ? {} : { all: true }, gates: said.has("gates.ng") ? { ng: {} } : {} });
    send<{ number: number }>("POST", "/api/rollouts", plan).then((made) => { location.hash = `#/rollout/${made.number}`; }, (error) => {
      const told = placed(error.message, form.current!);
      setBusy(false);
      setFaults(told);
      if (Object.keys(told).some((at) => /^(per_|hours|gates)/.test(at))) setOpen(true);
      failed(error);
    });
  };
  return (
    <Refused.Provider value={faults}>
      <form class="panel making" ref={form} onSubmit={begin} aria-label={t("newRollout")} onKeyDown={(e) => { if (e.key === "Escape") close(); }}>
        <Asked name="what" word={t("whatGoes")}><select name="what" required value={what} ref={begins} onChange={(e) => setWhat(e.currentTarget.value)}>
          <option value="">{t("chooseWhat")}</option>{(there ?? []).map((one) => <option key={one} value={one}>{one}</option>)}</select></Asked>
        <Asked name="devices.class" word={t("toClass")}><input name="devices.class" value={kind} maxLength={64} placeholder={t("anyClass")} onInput={(e) => setKind(e.currentTarget.value)} /></Asked>
        <Asked name="devices.site" word={t("toPlace")}><input name="devices.site" value={site} maxLength={200} required={!everywhere} placeholder={t("anyPlace")} onInput={(e) => setSite(e.currentTarget.value)} list="places" />
          <datalist id="places">{places.filter(Boolean).map((one) => <option key={one} value={one} />)}</datalist></Asked>
        <Asked name="waves" word={t("inWaves")}><input name="waves" defaultValue="1, 2%, 10%, 50%" title={t("wavesHow")} /></Asked>
        <Asked name="soak" word={t("soak")}><select name="soak">{SOAKS.map(([v, n, unit]) => <option key={v} value={v}>{n} {t(unit)}</option>)}</select></Asked>
        <p class="quiet hint">{t("wavesHow")}</p>
        <div class="checks">
          {everywhere && !named ? <label><input type="checkbox" checked={all} onChange={(e) => setAll(e.currentTarget.checked)} /> {t("everyDevice")}</label> : null}
          {what.startsWith("model/") ? <label><input name="stage" type="checkbox" value="shadow" /> {t("inShadow")}</label> : null}
          <label><input name="at_breach" type="checkbox" value="back" /> {t("goesBack")}</label>
        </div>
        <details class="whole" open={open} onToggle={(e) => setOpen(e.currentTarget.open)}><summary>{t("more")} <span class="quiet">{t("moreAsks")}</span></summary>
          <div class="making">
            <Asked name="per_site" word={t("perSite")}><input name="per_site" inputMode="numeric" placeholder={t("anyNumber")} /></Asked>
            <Asked name="per_minute" word={t("perMinute")}><input name="per_minute" inputMode="numeric" placeholder="600" /></Asked>
            <Hours />
            <Gates />
          </div>
        </details>
        {faults[""] ? <p class="bad" role="alert">{sentence(faults[""])}</p> : null}
        <div class="bar starts"><span class="choices"><button class="primary" disabled={busy || !what || !chosen || fit === 0}>{t("begin")}</button><button type="button" onClick={close}>{t("cancel")}</button></span>
          <span class="quiet" role="status">{fit === null ? "" : fit ? `${number(fit)} ${t(fit === 1 ? "fitsOne" : "fitMany")}` : t("noneFits")}</span></div>
      </form>
    </Refused.Provider>
  );
}

function Hours() {
  const [those, setThose] = useState<number[]>([]);
  const mine = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return (
    <fieldset><legend>{t("onlyHours")}</legend>
      {those.length ? null : <p class="quiet">{t("hoursHow")}</p>}
      {those.map((key, k) => {
        const at = (name: string) => `hours.${k}.${name}`;
        return (
          <div class="window" key={key} data-name={`hours.${k}`}>
            <Asked name={at("from")} word={t("fromTime")}><input name={at("from")} placeholder="00:00" /></Asked>
            <Asked name={at("to")} word={t("toTime")}><input name={at("to")} placeholder="24:00" /></Asked>
            <Asked name={at("zone")} word={t("inZone")}><input name={at("zone")} list="zones" defaultValue={mine} /></Asked>
            <button type="button" class="end" aria-label={t("takeHoursAway")} title={t("takeHoursAway")} onClick={() => setThose(those.filter((one) => one !== key))}>✕</button>
            <div class="checks" role="group" aria-label={t("onDays")}><span class="quiet">{t("onDays")}</span>{DAYS.map((day) => <label key={day}><input type="checkbox" name={at("days")} value={day} /> {weekday(day)}</label>)}</div>
            <Fault at={`hours.${k}`} />
          </div>
        );
      })}
      <button type="button" disabled={those.length >= 20} onClick={() => setThose([...those, (those.at(-1) ?? 0) + 1])}>{t("addHours")}</button>
      <datalist id="zones">{Intl.supportedValuesOf("timeZone").map((one) => <option key={one} value={one} />)}</datalist>
    </fieldset>
  );
}

const GATES: [string, Word, string][] = [["failed", "gateFailed", "5"], ["alarms", "gateAlarms", "5"], ["silent", "gateSilent", "5"], ["ng", "gateNg", "20"]];

function Gates() {
  const [ng, setNg] = useState(false);
  return (
    <fieldset><legend>{t("gates")}</legend>
      <p class="quiet">{t("gatesHow")}</p>
      {GATES.map(([gate, word, most]) => {
        const at = (name: string) => `gates.${gate}.${name}`, off = gate === "ng" && !ng;
        return (
          <div class="gate" key={gate} role="group" aria-label={t(word)} data-asks={gate}>
            <span class="checks">{t(word)}{gate === "ng" ? <label><input name="gates.ng" type="checkbox" value="" checked={ng} onChange={(e) => setNg(e.currentTarget.checked)} /> {t("judgeNg")}</label> : null}</span>
            <Asked name={at("most")} word={t("mostOf")}><input name={at("most")} inputMode="decimal" placeholder={most} disabled={off} /></Asked>
            <Asked name={at("at_least")} word={t("fromTries")}><input name={at("at_least")} inputMode="numeric" placeholder="1" disabled={off} /></Asked>
            {gate === "alarms" ? (
              <Asked name={at("severity")} word={t("whichAlarms")}><select name={at("severity")}>{severityOrder.map((least, k) => <option key={least} value={least} selected={least === "high"}>{k === 0 ? known(least) : k === severityOrder.length - 1 ? t("everyAlarm") : `${known(least)} ${t("andWorse")}`}</option>)}</select></Asked>
            ) : gate === "silent" ? <Asked name={at("after")} word={t("silentFor")}><input name={at("after")} inputMode="decimal" placeholder="5" /></Asked>
            : gate === "ng" ? <Asked name={at("parts")} word={t("partsEach")}><input name={at("parts")} inputMode="numeric" placeholder="50" disabled={off} /></Asked> : <span />}
          </div>
        );
      })}
    </fieldset>
  );
}
