// Who works here: signing in, what somebody may, signing out. The plane decides; what it would refuse is only not shown.
import { useEffect, useState } from "preact/hooks";
import { get } from "./api";
import { t } from "./words";

export interface Me { name: string; account: boolean; roles: [string, string][]; may: string[]; whole: string[]; places: Record<string, string[]> }
interface Ways { link: boolean; openid: string }

let known: Me | null = null;
const below = (place: string, top: string) => !top || place === top || place.startsWith(`${top}/`);
/** Whether who works here may do that at a place of the tree (none: anywhere). */
export const may = (permission: string, place?: string): boolean => !!known?.places[permission]?.some((top) => place === undefined || below(place, top));
export const meNow = (): Me | null => known;
/** Where that is. */
export const placesOf = (permission: string): string[] => known?.places[permission] ?? [];

/** Null until it is known. `:root` says it too, so that style.css leaves out what somebody may not do. */
export function useMe(up: boolean): Me | null {
  const [me, setMe] = useState<Me | null>(null);
  useEffect(() => {
    if (!up) return;
    get<Me>("/api/me").then((said) => {
      document.documentElement.dataset.may = said.may.join(" ");
      known = said;
      setMe(said);
    }, () => {}); // the live lane finds out why, and says so
  }, [up]);
  return me;
}

export function Who({ me }: { me: Me }) {
  const roles = me.roles.map(([role, place]) => `${role} · ${place || t("wholePlane")}`).join("\n");
  const out = () => fetch("/api/logout", { method: "POST" }).finally(() => location.reload());
  return (
    <>
      {me.account ? <a class="who" href="#/me" title={roles}>{me.name}</a> : null}
      <button class="plain" onClick={out}>{t("signOut")}</button>
    </>
  );
}

export function SignInPage() {
  const [ways, setWays] = useState<Ways>({ link: true, openid: "" });
  const [fault, setFault] = useState<"" | "wrongPassword" | "tooManyTries" | "notDone">("");
  useEffect(() => { get<Ways>("/api/login").then(setWays, () => {}); }, []);
  const enter = async (e: Event) => {
    e.preventDefault();
    const said = Object.fromEntries(new FormData(e.currentTarget as HTMLFormElement));
    const answer = await fetch("/api/login", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(said),
    }).catch(() => null);
    if (answer?.ok) location.reload();
    else setFault(answer?.status === 401 ? "wrongPassword" : answer?.status === 429 ? "tooManyTries" : "notDone");
  };
  return (
    <main class="signin">
      <h1>{t("signIn")}</h1>
      <form class="panel" onSubmit={enter}>
        <label>{t("userName")} <input name="name" autocomplete="username" required maxLength={64} /></label>
        <label>{t("password")} <input name="password" type="password" autocomplete="current-password" required /></label>
        <button>{t("enter")}</button>
        {fault ? <p class="bad" role="alert">{t(fault)}</p> : null}
      </form>
      {ways.openid ? <p><a href="/login/openid">{ways.openid}</a></p> : null}
      {ways.link ? <p class="quiet">{t("signInSub")}</p> : null}
    </main>
  );
}
