// Drives the dashboard in a headless Chromium, for test_dashboard.py:
//
//   node dashboard_driver.mjs CHROMIUM URL TOKEN SCREENSHOT_DIR journey|pages
//
// Its last line is JSON: what it saw. Whatever it waits for in vain makes it fail, with a line that says for what.
import { createRequire } from "node:module";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const require = createRequire(new URL("../../dashboard/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [executablePath, url, token, shots, what] = process.argv.slice(2);
const seen = { console: [], violations: [], overflow: [], external: [], checks: {} };
const WAIT = 8000;

function watch(page) {
  page.setDefaultTimeout(WAIT);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && seen.console.push(message.text()));
  page.on("pageerror", (error) => seen.console.push(`uncaught: ${error.message}`));
  page.on("request", (request) => !/^(data|blob):/.test(request.url()) && !request.url().startsWith(url) && seen.external.push(request.url()));
}

async function api(method, path, body) {
  const response = await fetch(url + path, {
    method, headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" }, body: body && JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

async function signIn(page) {
  await page.goto(url);
  await page.getByLabel("Access token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Experiments" }).waitFor();
}

/** Makes an experiment by hand, sends users and events by the API, and watches the page change by itself. */
async function journey(browser) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  watch(page);
  await page.goto(url);
  await page.getByLabel("Access token").fill("assay_wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("does not know this token").waitFor();
  seen.console = seen.console.filter((text) => !text.includes("401")); // asked for, just now
  await signIn(page);
  await page.getByRole("link", { name: "New experiment" }).click();
  await page.getByLabel("Name", { exact: true }).fill("Made by hand");
  await page.getByRole("button", { name: "Add a variant" }).click();
  await page.getByLabel("Weight of control in percent").fill("50");
  await page.getByLabel("Weight of control in percent").press("Tab");
  seen.checks.weights = await page.getByLabel(/^Weight of/).evaluateAll((inputs) => inputs.map((input) => Number(input.value)));
  await page.getByLabel("Remove variant_2").click();
  seen.checks.weightsAfterRemoval = await page.getByLabel(/^Weight of/).evaluateAll((inputs) => inputs.map((input) => Number(input.value)));
  await page.getByRole("button", { name: "Start it now" }).click();
  await page.getByRole("heading", { name: "Made by hand" }).waitFor();
  await page.getByText("Nobody is in this experiment yet").waitFor();
  await page.evaluate(() => { window.stillHere = true; });
  await page.getByText("Live").waitFor();
  const users = Array.from({ length: 2000 }, (_, at) => ({ user_id: `hand-${at}` }));
  const { assignments } = await api("POST", "/experiments/made-by-hand/assignments", { users });
  await page.locator(".tile", { hasText: "Users" }).getByText("2,000").waitFor();
  // Of control one in ten converts, of the treatment three.
  const events = assignments.filter((one, at) => (one.variant === "control" ? at % 10 === 0 : at % 10 < 3))
    .map((one) => ({ event_id: `e-${one.user_id}`, user_id: one.user_id, event_type: "conversion" }));
  await api("POST", "/events", events);
  await page.getByText(/treatment beats control: conversion rate is .* higher/).waitFor();
  seen.checks.reloaded = !(await page.evaluate(() => window.stillHere === true));
  await page.screenshot({ path: join(shots, "journey.png"), fullPage: true });
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("button", { name: "Resume" }).waitFor();
  seen.checks.status = (await api("GET", "/experiments/made-by-hand")).status;
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "CSV" }).first().click();
  seen.checks.csv = readFileSync(await (await download).path(), "utf8").split("\n");
  const drawing = page.waitForEvent("download");
  await page.getByRole("button", { name: "SVG" }).first().click();
  seen.checks.svg = readFileSync(await (await drawing).path(), "utf8").slice(0, 200);
  seen.checks.storage = await page.evaluate(() => [Object.keys(localStorage).length, Object.keys(sessionStorage)]);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Access token").waitFor();
  seen.checks.forgotten = await page.evaluate(() => sessionStorage.length === 0);
}

const addresses = [
  "experiments", "experiments/new", "experiments/homepage-cta", "experiments/homepage-cta/edit", "metrics", "metrics/new", "metrics/revenue",
  "events", "explain", "power", "tokens", "system",
];

async function settle(page) {
  // Not waitForFunction(): it evaluates text in the page, which the page's policy forbids.
  await page.locator(".loading").first().waitFor({ state: "detached" });
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 150)));
}

async function judge(page, name) {
  const found = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ["violations"] })`);
  for (const one of found.violations.filter((violation) => ["serious", "critical"].includes(violation.impact))) {
    seen.violations.push(`${name}: ${one.id}: ${one.nodes.map((node) => `${node.html.slice(0, 160)} ${node.failureSummary}`).slice(0, 3).join(" | ")}`);
  }
}

/** Every page at two sizes, in light and dark: a picture, and what is wrong with it. */
async function pages(browser) {
  for (const [width, height, colorScheme] of [[1280, 800, "light"], [390, 844, "light"], [1280, 800, "dark"]]) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme });
    const page = await context.newPage();
    watch(page);
    const size = `${width}x${height}${colorScheme === "dark" ? "-dark" : ""}`;
    await page.goto(url);
    await page.getByLabel("Access token").waitFor();
    await judge(page, `login ${size}`);
    await page.screenshot({ path: join(shots, `login-${size}.png`) });
    await signIn(page);
    for (const address of addresses) {
      await page.goto(`${url}/#/${address}`);
      await settle(page);
      if (address === "explain") {
        await page.getByLabel("User id").fill("user-1");
        await page.getByRole("button", { name: "Explain" }).click();
        await page.locator(".answer").waitFor();
      }
      const name = address.replace(/\//g, "-");
      const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (excess > 0) seen.overflow.push(`${name} ${size}: ${excess} pixels too wide`);
      await judge(page, `${name} ${size}`);
      await page.screenshot({ path: join(shots, `${name}-${size}.png`), fullPage: true });
    }
    await context.close();
  }
}

mkdirSync(shots, { recursive: true });
const profile = mkdtempSync(join(tmpdir(), "assay-chromium-"));
const browser = await chromium.launch({
  executablePath, headless: true, env: { ...process.env, HOME: profile },
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  await { journey, pages }[what](browser);
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
}
console.log(JSON.stringify(seen));
