// Who works here: the tree of places, who is what at which, and keys of programs.
import { useState } from "preact/hooks";
import { failed, get, send } from "./api";
import { Keys } from "./keys";
import { sentence } from "./sentences";
import { moment, number, useFocus, useFresh } from "./show";
import { may, meNow, placesOf } from "./signin";
import { Sure } from "./sure";
import { role as roleWord, ROLES, t, type Word } from "./words";

export interface Person { name: string; by: string; roles: [string, string][]; until: number; yours: boolean }
interface Node { place: string; devices: number }
/** So that what stands below a place comes right after it. */
export const inOrder = (places: Iterable<string>): string[] => [...places].map((place) => place.replaceAll("/", "\0")).sort().map((place) => place.replaceAll("\0", "/"));
const below = (place: string, top: string) => !top || place === top || place.startsWith(`${top}/`);
export const placeName = (place: string) => place || t("wholePlane");

/** Every place of the tree that somebody sees, with those on the way to it. */
export function usePlaces(): string[] {
  const [tree] = useFresh<{ place: string }[]>(() => get("/api/tree"), () => false, []), tops = placesOf("watch"), places = new Set<string>(tops);
  for (const { place } of tree ?? []) place.split("/").forEach((_, k, names) => places.add(names.slice(0, k + 1).join("/")));
  return inOrder(places).filter((place) => tops.some((top) => below(place, top)));
}

/** One of them, or all that somebody sees (""). */
export function PlaceChoice({ at, pick }: { at: string; pick: (at: string) => void }) {
  const places = usePlaces().filter(Boolean);
  return <label class="choice">{t("place")} <select value={at} onChange={(e) => pick(e.currentTarget.value)}><option value="">{placesOf("watch").includes("") ? t("wholePlane") : t("all")}</option>{places.map((place) => <option key={place} value={place}>{place}</option>)}</select></label>;
}

const PARTS: [Word, string, string][] = [["people", "#/people", "people"], ["audit", "#/audit", "audit"], ["dossier", "#/dossier", "watch"]];
/** The pages that belong together, of them those that somebody may see. */
export function Beside({ here }: { here: string }) {
  const mine = PARTS.filter(([, , permission]) => may(permission));
  return mine.length < 2 ? null : <p class="choices beside-pages" role="navigation" aria-label={t("people")}>{mine.map(([word, to]) => <a key={to} class="button" href={to} aria-current={to === here ? "page" : undefined}>{t(word)}</a>)}</p>;
}

export function People() {
  const [people, again] = useFresh<Person[]>(() => get("/api/people"), () => false, []);
  const [tree] = useFresh<Node[]>(() => get("/api/tree"), () => false, []);
  const [at, setAt] = useState(""), [making, setMaking] = useState(false), [fault, setFault] = useState(""), [changing, setChanging] = useState("");
  if (meNow() && !may("people")) return <p class="calm">{t("notForYou")}</p>;
  if (!people || !tree) return <p class="quiet">…</p>;
  const act = (method: string, path: string, body?: unknown) => {
    setFault("");
    return send(method, path, body).then(() => { again(); return true; }, (e) => { setFault(e.message); failed(e); return false; });
  };
  const here = people.filter((one) => !at || one.roles.some(([, place]) => below(place, at)));
  return (
    <>
      <header class="bar"><h1>{t("people")}</h1><Beside here="#/people" /></header>
      {meNow()?.account === false ? <p class="panel quiet">{t("firstDay")}</p> : null}
      {fault ? <p class="bad" role="alert">{sentence(fault)}</p> : null}
      <div class="tenants">
        <Tree nodes={tree} people={people} at={at} pick={setAt} />
        <div class="stack">
          <section class="panel" aria-label={t("accounts")}>
            <header class="bar"><h2>{t("accounts")} <span class="now">{at ? placeName(at) : ""}</span></h2>{making ? null : <button onClick={() => setMaking(true)}>{t("newPerson")}</button>}</header>
            {making ? <New at={at} close={() => setMaking(false)} add={(person) => act("POST", "/api/people", person).then((done) => { if (done) setMaking(false); return done; })} /> : null}
            {here.length ? (
              <ul class="people">{here.map((one) => <One key={one.name} one={one} at={at} open={changing === one.name} toggle={() => setChanging(changing === one.name ? "" : one.name)} act={act} />)}</ul>
            ) : <p class="quiet">{t("nobodyHere")}</p>}
          </section>
          <Keys at={at} />
        </div>
      </div>
    </>
  );
}

/** Every place on the way, with how many devices stand there or below, and who is something there. */
function Tree({ nodes, people, at, pick }: { nodes: Node[]; people: Person[]; at: string; pick: (place: string) => void }) {
  const places = new Set<string>([""]);
  for (const place of [...nodes.map((n) => n.place), ...people.flatMap((one) => one.roles.map(([, at]) => at)), ...placesOf("people")])
    place.split("/").forEach((_, k, names) => places.add(names.slice(0, k + 1).join("/")));
  const tops = placesOf("people"), shown = inOrder(places).filter((place) => tops.some((top) => below(place, top)));
  const least = Math.min(...shown.map((place) => (place ? place.split("/").length : 0)));
  return (
    <nav class="panel tree" aria-label={t("tree")}>
      <h2>{t("tree")}</h2>
      <ul>{shown.map((place) => {
        const depth = (place ? place.split("/").length : 0) - least, devices = nodes.reduce((sum, n) => sum + (below(n.place, place) ? n.devices : 0), 0);
        return (
          <li key={place} style={{ paddingInlineStart: `${depth * 1.1}rem` }}>
            <button class="plain" aria-pressed={place === at} onClick={() => pick(place)}><span>{place.split("/").pop() || t("wholePlane")}</span><small class="quiet">{number(devices)} {t(devices === 1 ? "deviceBelow" : "devicesBelow")}</small></button>
          </li>
        );
      })}</ul>
    </nav>
  );
}

export function RoleAt({ role, at, set, where }: { role: string; at: string; set: (role: string) => void; where: (at: string) => void }) {
  const whole = placesOf("people").includes("");
  return (
    <>
      <label>{t("role")} <select value={role} onChange={(e) => set(e.currentTarget.value)}>{ROLES.filter((one) => one !== "platform_admin" || whole).map((one) => <option key={one} value={one}>{roleWord(one)}</option>)}</select></label>
      <label>{t("atNode")} <input value={at} maxLength={200} required={!whole} placeholder={whole ? t("wholePlane") : "acme/east"} onInput={(e) => where(e.currentTarget.value)} /></label>
    </>
  );
}
const first = (at: string) => at || (placesOf("people").includes("") ? "" : placesOf("people")[0] ?? "");

function New({ at, add, close }: { at: string; add: (person: object) => Promise<boolean>; close: () => void }) {
  const [role, setRole] = useState("operator"), [place, setPlace] = useState(first(at));
  const name = useFocus<HTMLInputElement>();
  const send = (e: Event) => {
    e.preventDefault();
    const said = Object.fromEntries(new FormData(e.currentTarget as HTMLFormElement));
    void add({ name: said.name, password: said.password, role, at: place.trim() });
  };
  return (
    <form class="making" onSubmit={send} aria-label={t("newPerson")} onKeyDown={(e) => { if (e.key === "Escape") close(); }}>
      <label>{t("userName")} <input name="name" required maxLength={64} autocomplete="off" ref={name} /></label>
      <label>{t("firstPassword")} <input name="password" type="password" required minLength={12} maxLength={200} autocomplete="new-password" title={t("passwordRule")} /></label>
      <RoleAt role={role} at={place} set={setRole} where={setPlace} />
      <p class="quiet hint">{t("passwordRule")}</p>
      <div class="choices"><button class="primary">{t("addPerson")}</button><button type="button" onClick={close}>{t("cancel")}</button></div>
    </form>
  );
}

function One({ one, at, open, toggle, act }: { one: Person; at: string; open: boolean; toggle: () => void; act: (method: string, path: string, body?: unknown) => Promise<boolean> }) {
  const [role, setRole] = useState("operator"), [place, setPlace] = useState(first(at)), [word, setWord] = useState("");
  const path = `/api/people/${encodeURIComponent(one.name)}`, self = meNow()?.name === one.name;
  return (
    <li data-person={one.name}>
      <div class="head">
        <strong>{one.name}</strong><small class="quiet">{one.by === "openid" ? t("byProvider") : ""}{one.until ? ` ${t("signedIn")} ${t("until")} ${moment(one.until * 1000)}` : ""}</small>
        <button aria-expanded={open} onClick={toggle}>{t(open ? "close" : "change")}</button>
      </div>
      <ul class="roles">{one.roles.map(([r, p]) => (
        <li key={`${r} ${p}`}>{roleWord(r)} <span class="quiet">{placeName(p)}</span>{open && !self ? <button class="plain bad" aria-label={`${t("takeRole")}: ${roleWord(r)} ${placeName(p)}`} title={t("takeRole")} onClick={() => act("DELETE", `${path}/roles?${new URLSearchParams({ role: r, at: p })}`)}>✕</button> : null}</li>
      ))}{one.roles.length ? null : <li class="quiet">{t("noRole")}</li>}</ul>
      {open ? (
        <>
          <form class="making" onSubmit={(e) => { e.preventDefault(); void act("POST", `${path}/roles`, { role, at: place.trim() }); }}>
            <RoleAt role={role} at={place} set={setRole} where={setPlace} /><span class="choices end"><button>{t("giveRole")}</button></span>
          </form>
          {one.yours ? (
            <div class="bar">
              {one.by === "openid" ? <span /> : <form class="choices" onSubmit={(e) => { e.preventDefault(); void act("POST", `${path}/password`, { password: word }).then((done) => { if (done) { setWord(""); toggle(); } }); }}>
                <input type="password" required minLength={12} maxLength={200} autocomplete="new-password" aria-label={t("anotherPassword")} placeholder={t("anotherPassword")} title={t("passwordRule")} value={word} onInput={(e) => setWord(e.currentTarget.value)} /><button disabled={!word}>{t("setPassword")}</button></form>}
              <span class="choices"><button disabled={!one.until} onClick={() => act("POST", `${path}/signout`)}>{t("signOutAll")}</button>
                <Sure word={t("removePerson")} question={`${t("sureRemove")} ${one.name}?`} act={() => act("DELETE", path)} bad /></span>
            </div>
          ) : <p class="quiet">{t(self ? "thatIsYou" : "notYours")}</p>}
        </>
      ) : null}
    </li>
  );
}
