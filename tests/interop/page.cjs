// Drives the owner's page with a headless Chromium: what to do comes as JSON on standard input, what was
// found goes as JSON to standard output. The browser unpacks itself once into the temporary folder.
"use strict";

const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

// The libraries and fonts that come with the browser are used, whatever this machine has. Its own list of
// font folders is for /tmp alone.
const unpacked = os.tmpdir();
process.env.AWS_EXECUTION_ENV = "AWS_Lambda_nodejs20.x";
process.env.FONTCONFIG_PATH = unpacked;
fs.writeFileSync(
  path.join(unpacked, "fonts.conf"),
  `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
    <dir>${unpacked}/fonts</dir><dir>/usr/share/fonts</dir><cachedir>${unpacked}/fonts-cache</cachedir>
  </fontconfig>`,
);
const chromium = require("@sparticuz/chromium");
const playwright = require("playwright-core");
const axe = require("axe-core");

const task = JSON.parse(fs.readFileSync(0, "utf8"));
const sizes = { phone: { width: 360, height: 780 }, desk: { width: 1280, height: 900 } };

// Every request of a page that leaves this machine, or that a page without scripts has no reason for.
function watch(page, seen) {
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol === "data:") return;
    seen.push(`${request.resourceType()} ${url.origin}`);
  });
  page.on("console", (message) => seen.push(`console ${message.text()}`));
}

async function signIn(page, to) {
  await page.goto(task.base + to);
  await page.getByLabel("Owner's key").fill(task.key);
  await page.keyboard.press("Enter");
  await page.waitForURL(task.base + to);
}

async function looks(browser) {
  const found = [];
  for (const scheme of ["light", "dark"]) {
    for (const [size, viewport] of Object.entries(sizes)) {
      const context = await browser.newContext({ viewport, colorScheme: scheme });
      const page = await context.newPage();
      const seen = [];
      watch(page, seen);
      const look = async (name) => {
        const file = path.join(task.out, `${name}-${size}-${scheme}.png`);
        await page.screenshot({ path: file, fullPage: true });
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        await page.evaluate(axe.source);
        const report = await page.evaluate(() =>
          window.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }),
        );
        const wrong = report.violations.flatMap((rule) =>
          rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 120)} ${node.failureSummary}`),
        );
        found.push({ name, size, scheme, width, viewport: viewport.width, rules: report.passes.length, wrong });
      };
      await page.goto(task.base + "/owner/sign-in");
      await look("sign-in");
      await signIn(page, "/owner");
      await look("waiting");
      for (const [name, to] of Object.entries(task.pages)) {
        await page.goto(task.base + to);
        await page.evaluate(() => document.querySelectorAll("details").forEach((folded) => (folded.open = true)));
        await look(name);
      }
      found.push({ scheme, size, seen: [...new Set(seen)] });
      await context.close();
    }
  }
  return found;
}

// What has the focus, as somebody hears it.
const focus = (page) =>
  page.evaluate(() => {
    const at = document.activeElement;
    const style = getComputedStyle(at);
    const ring = at.matches(":focus-visible") && style.outlineStyle !== "none" && style.outlineWidth !== "0px";
    return { name: (at.textContent || at.name || at.tagName).trim().replace(/\s+/g, " "), ring };
  });

async function keyboard(browser) {
  const page = await (await browser.newContext({ viewport: sizes.desk })).newPage();
  await page.goto(task.base + task.to);
  await page.locator("[name=key]:focus").waitFor(); // the field has the focus, without a click
  await page.keyboard.type(task.key);
  await page.keyboard.press("Enter");
  await page.waitForURL(task.base + task.to);
  const order = [];
  for (let steps = 0; steps < 40; steps += 1) {
    await page.keyboard.press("Tab");
    const at = await focus(page);
    order.push(at);
    if (at.name.startsWith(task.button)) break;
  }
  await page.keyboard.press("Enter");
  await page.waitForLoadState();
  await page.getByText("Nothing is paid yet").waitFor();
  const url = page.url();
  // The first stop of every page leads past the navigation.
  await page.keyboard.press("Tab");
  const skip = await focus(page);
  await page.keyboard.press("Enter");
  const content = await page.evaluate(() => document.activeElement.id);
  return { order, url, heading: await page.locator("h1").innerText(), skip, content };
}

async function forged(browser) {
  const context = await browser.newContext({ viewport: sizes.desk });
  const page = await context.newPage();
  await signIn(page, "/owner");
  const answers = [];
  for (const attack of task.attacks) {
    const sent = page.waitForResponse((response) => response.request().method() === "POST");
    await page.goto(attack);
    const response = await sent;
    await page.waitForLoadState();
    const headers = await response.request().allHeaders();
    answers.push({
      attack,
      status: response.status(),
      origin: headers.origin ?? null,
      site: headers["sec-fetch-site"] ?? null,
      cookie: "cookie" in headers,
      heading: await page.locator("h1").innerText(),
    });
  }
  await page.goto(task.frame);
  await page.waitForLoadState();
  const framed = [];
  for (const frame of page.frames().slice(1)) framed.push(await frame.locator("body").innerText().catch(() => ""));
  // The owner is still signed in, so it was not for lack of a session.
  await page.goto(task.base + "/owner");
  return { answers, framed, heading: await page.locator("h1").innerText() };
}

async function main() {
  chromium.setGraphicsMode = false;
  const executablePath = await chromium.executablePath();
  const browser = await playwright.chromium.launch({
    executablePath,
    chromiumSandbox: false,
    args: ["--disable-gpu", "--font-render-hinting=none"],
  });
  try {
    const done = await { looks, keyboard, forged }[task.does](browser);
    process.stdout.write(JSON.stringify(done));
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
