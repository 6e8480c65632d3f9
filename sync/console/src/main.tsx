import { render } from "preact";
import { useEffect, useErrorBoundary, useRef, useState } from "preact/hooks";
import { Alarms } from "./alarms";
import { connect, connection } from "./api";
import { AssetPage } from "./asset";
import { Assets } from "./assets";
import { Audit } from "./audit";
import { CaseGraph, CasePage, Cases } from "./cases";
import { Device } from "./device";
import { Dossier } from "./dossier";
import { Inspections } from "./inspections";
import { Mine } from "./me";
import { WorkOrders } from "./orders";
import { Overview } from "./overview";
import { People } from "./people";
import { Plane } from "./plane";
import { Refused } from "./refused";
import { Review } from "./review";
import { Rollout } from "./rollout";
import { Rollouts } from "./rollouts";
import { clock, writing } from "./show";
import { may, type Me, meNow, SignInPage, useMe, Who } from "./signin";
import "./style.css";
import { language, speak, t } from "./words";

const PLACES = [["overview", "#/"], ["alarms", "#/alarms"], ["inspections", "#/inspections"], ["review", "#/review"], ["assets", "#/assets"], ["faultCases", "#/cases"], ["rollouts", "#/rollouts"], ["refused", "#/refused"], ["plane", "#/plane"], ["people", "#/people"]] as const;
/** What somebody sees in the line of places. */
const forWhom = (word: string, me: Me | null): boolean => (word === "plane" ? !me || me.whole.includes("watch") : word !== "people" || may("people") || may("audit"));
const dark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
document.documentElement.dataset.theme = localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

function App() {
  const [place, setPlace] = useState(location.hash || "#/");
  const [, redraw] = useState(0);
  useEffect(() => {
    const moved = () => setPlace(location.hash || "#/");
    connection.changed = () => redraw((n) => n + 1);
    addEventListener("hashchange", moved);
    moved();
    connect();
    return () => removeEventListener("hashchange", moved);
  }, []);
  useEffect(keys, []);
  const main = useRef<HTMLElement>(null), before = useRef(place);
  const at = PLACES.find(([, to]) => to === place || (to === "#/rollouts" && place.startsWith("#/rollout/")) || (to === "#/assets" && (place === "#/work-orders" || place.startsWith("#/asset/"))) || (to === "#/cases" && /^#\/cases?\//.test(place)) || (to === "#/people" && ["#/audit", "#/dossier"].includes(place)));
  document.title = `${named(place) ?? t(place === "#/audit" ? "audit" : place === "#/dossier" ? "dossier" : at ? at[0] : "overview")} · Lineside`;
  useEffect(() => { // where the places do not fit beside each other
    const here = document.querySelector<HTMLElement>(".places [aria-current]");
    if (here?.parentElement) here.parentElement.scrollLeft = here.offsetLeft - (innerWidth - here.offsetWidth) / 2;
  }, [at]);
  useEffect(() => {
    if (before.current !== place) main.current?.focus(); // who came by a key or a link goes on from the page, not from where it was
    before.current = place;
  }, [place]);
  const me = useMe(connection.state === "up");
  if (connection.state === "signin") return <SignInPage />;
  const theme = () => {
    const next = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    localStorage.setItem("theme", next);
    redraw((n) => n + 1);
  };
  return (
    <>
      <nav aria-label="Lineside">
        <a class="brand" href="#/">Lineside</a>
        <span class="places">{PLACES.filter(([word]) => forWhom(word, me)).map(([word, to]) => <a key={word} href={to === "#/people" && me && !me.may.includes("people") ? "#/audit" : to} aria-current={at?.[1] === to ? "page" : undefined}>{t(word)}</a>)}</span>
        <span class="grow" />
        {me ? <Who me={me} /> : null}
        <button class="plain" onClick={() => { speak(language === "zh" ? "en" : "zh"); redraw((n) => n + 1); }} lang={language === "zh" ? "en" : "zh"}>{language === "zh" ? "English" : "中文"}</button>
        <button class="plain" onClick={theme} aria-label={t(dark() ? "light" : "dark")} title={t(dark() ? "light" : "dark")}>{dark() ? "☀" : "☾"}</button>
      </nav>
      {connection.state === "up" ? null : <div class="banner" role="alert">{t("cut")} {clock(connection.since)}</div>}
      <main key={language} ref={main} tabIndex={-1}><Page key={place} place={place} /></main>
      <footer class="quiet">{t("keys")}</footer>
    </>
  );
}

/** The device that an address names. */
function named(place: string): string | null {
  const [, name] = place.match(/^#\/device\/(.+)/) ?? [];
  return name ? plain(name) : null;
}

/** A piece of an address as it is meant. */
function plain(piece: string): string {
  try {
    return decodeURIComponent(piece);
  } catch {
    return piece; // a % that begins nothing
  }
}

const OF_PLACES = ["#/cases", "#/assets", "#/work-orders", "#/rollouts", "#/people", "#/audit", "#/dossier", "#/me"]; // they begin with what somebody may where

/** A page that cannot show what a device sent leaves the others alone. */
function Page({ place }: { place: string }) {
  const [broken] = useErrorBoundary();
  if (broken) return <div class="banner" role="alert">{t("broken")}: {String(broken)}</div>;
  if (!meNow() && (OF_PLACES.includes(place) || /^#\/(asset|cases?)\//.test(place))) return <p class="quiet">…</p>;
  const device = named(place);
  if (device) return <Device id={device} />;
  if (place === "#/alarms") return <Alarms />;
  if (place === "#/inspections") return <Inspections />;
  if (place === "#/review") return <Review />;
  if (place === "#/me") return <Mine />;
  if (place === "#/people") return <People />;
  if (place === "#/audit") return <Audit />;
  if (place === "#/dossier") return <Dossier />;
  const [, kase] = place.match(/^#\/case\/(\d{1,16})$/) ?? [], [, words] = place.match(/^#\/cases\/find\/(.+)$/) ?? [];
  const [, kind, text] = place.match(/^#\/cases\/graph(?:\/(\w+)\/(.+))?$/) ?? [];
  if (kase) return <CasePage number={Number(kase)} />;
  if (place === "#/cases" || words) return <Cases words={words ? plain(words) : ""} />;
  if (place.startsWith("#/cases/graph")) return <CaseGraph kind={kind ?? ""} text={text ? plain(text) : ""} />;
  if (place === "#/assets") return <Assets />;
  if (place === "#/work-orders") return <WorkOrders />;
  const [, asset] = place.match(/^#\/asset\/(\d{1,15})$/) ?? [];
  if (asset) return <AssetPage number={Number(asset)} />;
  if (place === "#/rollouts") return <Rollouts />;
  const [, rollout] = place.match(/^#\/rollout\/(\d{1,15})$/) ?? [];
  if (rollout) return <Rollout number={Number(rollout)} />;
  if (place === "#/refused") return <Refused />;
  if (place === "#/plane") return <Plane />;
  return <Overview />;
}

/** g then o, a, i, v, r, p, w, s, c, u, l, d goes somewhere; / filters; a acknowledges and s shelves (or unshelves) the alarm that has the focus. */
function keys() {
  let before = "";
  const pressed = (e: KeyboardEvent) => {
    if (document.querySelector("dialog[open]") || writing(e) || e.ctrlKey || e.metaKey || e.altKey) return;
    const to = ({ o: "#/", a: "#/alarms", i: "#/inspections", v: "#/review", r: "#/refused", p: "#/plane", w: "#/rollouts", s: "#/assets", c: "#/cases", u: "#/people", l: "#/audit", d: "#/dossier" } as Record<string, string>)[e.key];
    if (before === "g" && to) location.hash = to;
    else if (e.key === "/") { document.getElementById("filter")?.focus(); e.preventDefault(); }
    else if (e.key === "a" && !e.repeat) document.activeElement?.closest("[data-alarm]")?.querySelector<HTMLButtonElement>("button.acknowledge:not(:disabled)")?.click();
    else if (e.key === "s" && !e.repeat) document.activeElement?.closest("[data-alarm]")?.querySelector<HTMLButtonElement>("button.shelve:not(:disabled), button.unshelve:not(:disabled)")?.click();
    before = e.key;
  };
  addEventListener("keydown", pressed);
  return () => removeEventListener("keydown", pressed);
}

render(<App />, document.getElementById("app")!);
