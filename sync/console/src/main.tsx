import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Alarms } from "./alarms";
import { connect, connection, SignIn } from "./api";
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
  const [trouble, setTrouble] = useState<"" | "signin">("");
  const [, redraw] = useState(0);
  const failed = (e: unknown) => { if (e instanceof SignIn) setTrouble("signin"); };
  useEffect(() => {
    const moved = () => setPlace(location.hash || "#/");
    connection.changed = () => redraw((n) => n + 1);
    addEventListener("hashchange", moved);
    connect();
    return () => removeEventListener("hashchange", moved);
  }, []);
  useEffect(keys, []);
  if (trouble) return <main class="signin"><h1>{t("signIn")}</h1><p>{t("signInSub")}</p></main>;
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
        <button class="plain" onClick={theme}>{dark() ? t("light") : t("dark")}</button>
      </nav>
      {connection.up ? null : <div class="banner" role="alert">{t("lost")} {clock(connection.since)}</div>}
      <main key={language}>{page(place, failed)}</main>
      <footer class="quiet">{t("keys")}</footer>
    </>
  );
}

function page(place: string, failed: (e: unknown) => void) {
  if (place.startsWith("#/device/")) return <Device id={decodeURIComponent(place.slice(9))} failed={failed} />;
  if (place === "#/alarms") return <Alarms failed={failed} />;
  if (place === "#/inspections") return <Inspections failed={failed} />;
  return <Overview failed={failed} />;
}

/** g then o, a, i goes somewhere; / filters; a acknowledges the alarm that has the focus. */
function keys() {
  let before = "";
  const pressed = (e: KeyboardEvent) => {
    if ((e.target as HTMLElement).tagName === "INPUT" || e.ctrlKey || e.metaKey || e.altKey) return;
    const to = ({ o: "#/", a: "#/alarms", i: "#/inspections" } as Record<string, string>)[e.key];
    if (before === "g" && to) location.hash = to;
    else if (e.key === "/") { document.getElementById("filter")?.focus(); e.preventDefault(); }
    else if (e.key === "a" && !e.repeat) document.activeElement?.closest("[data-alarm]")?.querySelector<HTMLButtonElement>("button.acknowledge:not(:disabled)")?.click();
    before = e.key;
  };
  addEventListener("keydown", pressed);
  return () => removeEventListener("keydown", pressed);
}

render(<App />, document.getElementById("app")!);
