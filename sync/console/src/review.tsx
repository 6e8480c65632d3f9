// What is this part really? One part after the other, by keys or by fingers.
import { useEffect, useRef, useState } from "preact/hooks";
import { type Answer, failed, get, type Inspected, type List, review } from "./api";
import { boxes, codeOf, Picture, verdict, Words } from "./part";
import { Proof } from "./proof";
import { Reasons } from "./reasons";
import { sentence } from "./sentences";
import { moment, number, useFresh, writing } from "./show";
import { label as word, t, type Word } from "./words";

const VERDICTS: [string, Word[]][] = [["ng,recheck", ["ng", "recheck"]], ["ng", ["ng"]], ["recheck", ["recheck"]], ["ok", ["ok"]]];
const SHOWN = ["open", "done", "all"] as const, ORDERS = ["newest", "hardest", "chance"] as const;
const GLANCE = 400; // ms that a part is shown before it takes an answer: a second tap is not meant for it
const CLASSES = 9; // as many as there are digits
const idOf = (p: Inspected) => `${p.device}/${p.epoch}/${p.seq}`;
const called = (p: Inspected) => `${t("part")} ${p.data.part ?? "–"}`;

export function Review() {
  const [state, setState] = useState(VERDICTS[0][0]);
  const [shown, setShown] = useState<(typeof SHOWN)[number]>("open");
  const [order, setOrder] = useState<(typeof ORDERS)[number]>("newest");
  const [label, setLabel] = useState(""), [recipe, setRecipe] = useState(""), [device, setDevice] = useState("");
  const [find, setFind] = useState("");
  const [picked, setPicked] = useState<Inspected | null>(null);
  const [last, setLast] = useState<Inspected | null>(null);
  const [by, setBy] = useState(localStorage.getItem("reviewer") ?? "");
  const asked = String(new URLSearchParams({ ...(find.trim() ? { reviewed: "all" } : { state, reviewed: shown }), order, label, recipe, device, called: find.trim() }));
  const load = async () => ({ ...(await get<List>(`/api/inspections?${asked}`)), asked });
  const [list, again] = useFresh(load, (m) => m.kind === "events", [asked], 2000); // of each part what a row shows
  const parts = list?.parts ?? [];
  const now = picked; // it stays, whatever comes meanwhile
  useEffect(() => { if (!picked && parts[0] && list?.asked === asked) setPicked(parts[0]); }, [list, picked]);
  const at = parts.findIndex((p) => now && idOf(p) === idOf(now));
  const go = (step: number) => setPicked(parts[Math.min(parts.length - 1, Math.max(0, (at < 0 ? -1 : at) + step))] ?? now);
  const answered = (p: Inspected) => {
    const next = parts[at + 1] ?? parts.find((one) => idOf(one) !== idOf(p)) ?? p;
    setLast(p);
    setPicked((one) => one && idOf(one) === idOf(p) ? next : one); // who moved on meanwhile stays there
    again();
  };
  const choose = <V,>(set: (v: V) => void) => (v: V) => { setPicked(null); set(v); };
  useKeys({ j: () => go(1), ArrowRight: () => go(1), k: () => go(-1), ArrowLeft: () => go(-1), u: () => last && setPicked(last) });
  if (!list) return <p class="quiet">…</p>;
  return (
    <>
      <header class="bar"><h1>{t("review")} <span class="now">{number(list.open)} {t("openOf")} {number(list.of)}</span></h1>
        <label class="who">{t("reviewer")} <input id="reviewer" value={by} maxLength={80} autocomplete="name" onInput={(e) => { setBy(e.currentTarget.value); localStorage.setItem("reviewer", e.currentTarget.value); }} /></label>
      </header>
      <div class="bar filters">
        <input id="filter" type="search" placeholder={t("findPart")} aria-label={t("findPart")} value={find} maxLength={200} onInput={(e) => choose(setFind)(e.currentTarget.value)} />
        <div class="choices" role="group" aria-label={t("verdict")}>{VERDICTS.map(([v, words]) => <button key={v} aria-pressed={v === state} onClick={() => choose(setState)(v)}>{words.map(t).join(" + ")}</button>)}</div>
        <div class="choices" role="group" aria-label={t("show")}>{SHOWN.map((s) => <button key={s} aria-pressed={s === shown} onClick={() => choose(setShown)(s)}>{t(s)}</button>)}</div>
        <Choice word="order" value={order} options={ORDERS.map((o) => [o, t(o)])} set={choose(setOrder as (v: string) => void)} />
        <Choice word="label" value={label} options={[["", t("all")], ...list.labels.map((l): [string, string] => [l, word(l)])]} set={choose(setLabel)} />
        {list.recipes.length > 1 ? <Choice word="recipe" value={recipe} options={[["", t("all")], ...list.recipes.map((r): [string, string] => [r, r])]} set={choose(setRecipe)} /> : null}
        {list.devices.length > 1 || device ? <Choice word="device" value={device} options={[["", t("all")], ...list.devices.map((d): [string, string] => [d, d])]} set={choose(setDevice)} /> : null}
      </div>
      <div class="review">
        {now ? <One key={idOf(now)} part={now} by={by.trim()} labels={list.labels} answered={answered} /> : <p class="calm">{t(find.trim() ? "noneFound" : list.of ? "allReviewed" : "noInspections")}</p>}
        <aside>
          {last && (!now || idOf(last) !== idOf(now)) ? <Last key={idOf(last)} part={last} look={() => setPicked(last)} /> : null}
          {parts.length ? <ol class="queue" aria-label={t("review")}>{parts.map((p) => <Row key={idOf(p)} part={p} on={!!now && idOf(p) === idOf(now)} pick={() => setPicked(p)} />)}</ol> : null}
        </aside>
      </div>
      <Proof device={device} done={list.of - list.open} />
    </>
  );
}

/** Keys that do something while nobody writes, and that do not finish a `g …`. */
function useKeys(keys: Record<string, () => void>): void {
  const newest = useRef(keys), before = useRef("");
  newest.current = keys;
  useEffect(() => {
    const pressed = (e: KeyboardEvent) => {
      const own = newest.current[e.key];
      if (own && !writing(e) && !e.ctrlKey && !e.metaKey && !e.altKey && !e.repeat && before.current !== "g") { own(); e.preventDefault(); }
      before.current = e.key;
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

function Choice({ word, value, options, set }: { word: Word; value: string; options: [string, string][]; set: (v: string) => void }) {
  return <label class="choice">{t(word)} <select value={value} onChange={(e) => set(e.currentTarget.value)}>{options.map(([v, words]) => <option key={v} value={v}>{words}</option>)}</select></label>;
}

function Row({ part: p, on, pick }: { part: Inspected; on: boolean; pick: () => void }) {
  const mine = useRef<HTMLLIElement>(null);
  useEffect(() => {
    const row = mine.current, list = row?.parentElement; // the list alone: the page stays where it is
    if (on && row && list) list.scrollTop = Math.max(row.offsetTop + row.offsetHeight - list.clientHeight, Math.min(list.scrollTop, row.offsetTop));
  }, [on]);
  const said = p.asked ?? p.reviews.at(-1);
  return (
    <li ref={mine} class={p.state} aria-current={on ? "true" : undefined}><button class="plain" onClick={pick}>
      <strong>{p.state === "ok" ? "✓" : p.state === "ng" ? "✕" : "?"}</strong><span class="short">{called(p)}<small class="quiet"> {[codeOf(p), word(p.data.label ?? "")].filter(Boolean).join(" · ")}</small></span>
      <small class="quiet">{said ? `${verdict(said.state)} · ${said.by}` : moment(p.ts / 1e6)}</small>
    </button></li>
  );
}

const useOne = (p: Inspected): [Inspected, () => void, boolean] => {
  const path = `/api/devices/${encodeURIComponent(p.device)}/inspections/${encodeURIComponent(p.epoch)}/${p.seq}`;
  const [found, again] = useFresh<Inspected>(() => get(path), (m) => m.kind === "events" && m.device === p.device, [path]);
  return [found ?? p, again, !!found];
};

/** What was answered last stays in sight until the device has it. */
function Last({ part, look }: { part: Inspected; look: () => void }) {
  const [p] = useOne(part);
  return <p class={`last ${p.refusal ? "bad" : "quiet"}`} role="status">{called(p)}: <Told part={p} short /> <button onClick={look}>{t("lookAgain")} <kbd>u</kbd></button></p>;
}

function Told({ part: p, short = false }: { part: Inspected; short?: boolean }) {
  const words = (a: Answer) => [verdict(a.state), word(a.label), a.text && `“${a.text}”`].filter(Boolean).join(" · ");
  const reviews = short ? p.reviews.slice(-1) : p.reviews;
  return (
    <>
      {p.asked ? null : reviews.map((r) => <span key={r.hash} class="told">✓ {r.by}: {words(r)} <small class="quiet">{moment(r.ts / 1e6)}{r.corrects ? ` · ${t("correction")}` : ""}</small></span>)}
      {p.asked && !short ? reviews.map((r) => <span key={r.hash} class="told">✓ {r.by}: {words(r)}</span>) : null}
      {p.asked ? <span class="told">… {p.asked.by}: {words(p.asked)} <small class="quiet">{t("onItsWay")}</small></span> : null}
      {p.refusal ? <span class="told bad">✕ {t("notTaken")}: {sentence(p.refusal)}</span> : null}
    </>
  );
}

function One({ part, by, labels, answered }: { part: Inspected; by: string; labels: string[]; answered: (p: Inspected) => void }) {
  const [p, again, fresh] = useOne(part);
  const [bare, setBare] = useState(false);
  useKeys({ b: () => setBare((on) => !on) });
  const views = p.refs.length ? p.refs : [undefined];
  const nameOf = (digest?: string) => Object.entries(p.data.pictures ?? {}).find(([, shot]) => Array.isArray(shot) && shot[3] === digest)?.[0];
  return (
    <article class={`inspection one ${p.state}`} aria-label={called(p)}>
      <div class={`views ${bare ? "bare" : ""} ${views.length > 1 ? "several" : ""}`}>{views.map((digest) => (
        <figure key={digest}><Picture event={p} digest={digest} crowded={views.length > 1 && boxes(p).length > 6} />{views.length > 1 ? <figcaption class="quiet">{nameOf(digest)}</figcaption> : null}</figure>
      ))}</div>
      <div class="beside">
        <Words event={p} />
        <p class="quiet">{p.device} · {p.key} · {moment(p.ts / 1e6)}{p.data.recipe ? ` · ${p.data.recipe}` : ""}</p>
        {fresh ? <Reasons part={p} /> : null}
        <p class="quiet"><button class="plain" aria-pressed={bare} onClick={() => setBare(!bare)}>{t(bare ? "withBoxes" : "withoutBoxes")} <kbd>b</kbd></button></p>
      </div>
      <Answers part={p} fresh={fresh} by={by} labels={labels} done={() => answered(p)} again={again} />
    </article>
  );
}

function Answers({ part: p, fresh, by, labels, done, again }: { part: Inspected; fresh: boolean; by: string; labels: string[]; done: () => void; again: () => void }) {
  const [choosing, setChoosing] = useState(false), [anew, setAnew] = useState(false);
  const [note, setNote] = useState(""), [fault, setFault] = useState(""), [busy, setBusy] = useState(false);
  const noting = useRef<HTMLInputElement>(null);
  const [looked, setLooked] = useState(false);
  useEffect(() => { const timer = window.setTimeout(() => setLooked(true), GLANCE); return () => window.clearTimeout(timer); }, []);
  const newest = p.reviews.at(-1), own = String(p.data.label ?? "");
  const open = !p.asked && (!newest || anew), may = open && !!by && !busy && looked && fresh;
  const seen = [...new Set([own, ...boxes(p).map((b) => String(b[4])), ...labels])].filter(Boolean).slice(0, CLASSES);
  const say = (state: string, label = "") => {
    if (!may) return;
    setBusy(true);
    setFault("");
    review(p, { state, label, text: note.trim(), by, corrects: newest?.hash ?? "" }).then(() => { again(); done(); }, (e) => {
      setBusy(false);
      setAnew(false);
      setFault(e.message === "409" ? t("reviewedMeanwhile") : t("notDone"));
      again();
      failed(e);
    });
  };
  const fine = { label: p.state === "ok" ? t("rightOk") : p.state === "ng" ? t("falseCall") : t("isOk"), act: () => say("ok") };
  const same = own && p.state !== "ok" ? { label: `${p.state === "ng" ? t("rightNg") : t("ng")}: ${word(own)}`, act: () => say("ng", own) } : null;
  const other = { label: p.state === "ok" ? t("missed") : t("otherDefect"), act: () => setChoosing(true) };
  useKeys(choosing
    ? { Escape: () => setChoosing(false), ...Object.fromEntries(seen.map((l, i) => [String(i + 1), () => say("ng", l)])) }
    : may ? { 1: fine.act, ...(same ? { 2: same.act } : {}), 3: other.act, t: () => noting.current?.focus() }
      : newest && !anew && !p.asked ? { c: () => setAnew(true) } : {});
  return (
    <footer class="answers">
      <p aria-live="polite"><Told part={p} /></p>
      {fault ? <p class="bad" role="alert">{fault}</p> : null}
      {open && !by ? <p class="warn">{t("whoFirst")}</p> : null}
      {open && choosing ? (
        <form class="classes" onSubmit={(e) => { e.preventDefault(); say("ng", String(new FormData(e.currentTarget).get("label") ?? "").trim()); }}>
          <p>{t("whichDefect")}</p>
          {seen.map((l, i) => <button type="button" key={l} onClick={() => say("ng", l)}><kbd>{i + 1}</kbd> {word(l)}</button>)}
          <input name="label" maxLength={80} placeholder={t("anotherName")} aria-label={t("anotherName")} onKeyDown={(e) => { if (e.key === "Escape" && !e.isComposing) setChoosing(false); }} />
          <button disabled={!may}>{t("ng")}</button>
          <button type="button" class="plain" onClick={() => setChoosing(false)}>{t("back")} <kbd>Esc</kbd></button>
        </form>
      ) : open ? (
        <div class="buttons">
          <button class="fine" disabled={!may} onClick={fine.act}><kbd>1</kbd> {fine.label}</button>
          {same ? <button class="not" disabled={!may} onClick={same.act}><kbd>2</kbd> {same.label}</button> : null}
          <button class="not" disabled={!may} onClick={other.act}><kbd>3</kbd> {other.label}</button>
          <input ref={noting} value={note} maxLength={1000} placeholder={`${t("note")} (t)`} aria-label={t("note")} onInput={(e) => setNote(e.currentTarget.value)}
            onKeyDown={(e) => { if (!e.isComposing && ["Enter", "Escape"].includes(e.key)) e.currentTarget.blur(); }} />
        </div>
      ) : newest && !p.asked ? <div class="buttons"><button onClick={() => setAnew(true)}><kbd>c</kbd> {t("correct")}</button></div> : null}
    </footer>
  );
}
