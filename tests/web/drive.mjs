// Opens page.html in Chromium and prints, as one JSON object, what it finds in each picture.
//
// node drive.mjs PACKAGES CHROMIUM PAGE PICTURE...
// PACKAGES is the folder with node_modules; PAGE and PICTURE are addresses.

import { createRequire } from "node:module";
import { join } from "node:path";

const [packages, executablePath, page, ...pictures] = process.argv.slice(2);
const { chromium } = createRequire(join(packages, "package.json"))("playwright-core");

const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox", // in a container as root there is none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
try {
  const tab = await browser.newPage();
  await tab.goto(page);
  await tab.waitForFunction(() => window.examine);
  const found = [];
  for (const picture of pictures) found.push(await tab.evaluate((p) => window.examine(p), picture));
  const isolated = await tab.evaluate(() => crossOriginIsolated);
  const threads = 1 + tab.workers().length;
  console.log(JSON.stringify({ found, isolated, threads }));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await browser.close();
}
