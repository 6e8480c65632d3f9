import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Alarms } from "./alarms";
import { connect, connection } from "./api";
import { Device } from "./device";
import { Inspections } from "./inspections";
import { Overview } from "./overview";
import { clock } from "./show";
import "./style.css";
import { language, speak, t } from "./words";

const PLACES = [["overview", "#/"], ["alarms", "#/alarms"], ["inspections", "#/inspections"]] as const;
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
  if (connection.state === "signin") return <main class="signin"><h1>{t("signIn")}</h1><p>{t("signInSub")}</p></main>;
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
        {PLACES.map(([word, to]) => <a key={word} href={to} aria-current={place === to ? "page" : undefined}>{t(word)}</a>)}
        <span class="grow" />
        <button class="plain" onClick={() => { speak(language === "zh" ? "en" : "zh"); redraw((n) => n + 1); }} lang={language === "zh" ? "en" : "zh"}>{language === "zh" ? "English" : "中文"}</button>
        <button class="plain" onClick={theme} aria-label={t(dark() ? "light" : "dark")} title={t(dark() ? "light" : "dark")}>{dark() ? "☀" : "☾"}</button>
      </nav>
      {connection.state === "up" ? null : <div class="banner" role="alert">{t("cut")} {clock(connection.since)}</div>}
      <main key={language}>{page(place)}</main>
      <footer class="quiet">{t("keys")}</footer>
    </>
  );
}

function page(place: string) {
  if (place.startsWith("#/device/")) return <Device id={decodeURIComponent(place.slice(9))} />;
  if (place === "#/alarms") return <Alarms />;
  if (place === "#/inspections") return <Inspections />;
  return <Overview />;
}

/** g then o, a, i goes somewhere; / filters; a acknowledges and s shelves (or unshelves) the alarm that has the focus. */
function keys() {
  let before = "";
  const pressed = (e: KeyboardEvent) => {
    if ((e.target as HTMLElement).tagName === "INPUT" || e.ctrlKey || e.metaKey || e.altKey) return;
    const to = ({ o: "#/", a: "#/alarms", i: "#/inspections" } as Record<string, string>)[e.key];
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
