// A real OpenID provider for the tests: node server.js PORT REDIRECT_URI. Whoever signs in is a person of PEOPLE.
import { Provider } from "oidc-provider";

const [port, back] = process.argv.slice(2);
const PEOPLE = {
  li: { preferred_username: "li", groups: ["engineers", "unknown"] },
  wang: { preferred_username: "wang", groups: [] },
  zhang: { preferred_username: "zhang", groups: "auditors" },
  thief: { preferred_username: "admin", groups: ["engineers"] },
};
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: "lineside", client_secret: "se:cret/of the plane", redirect_uris: [back] }],
  pkce: { required: () => true },
  scopes: ["openid", "profile"],
  claims: { openid: ["sub"], profile: ["preferred_username", "groups"] },
  cookies: { keys: ["of the tests"] },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
