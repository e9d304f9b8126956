// Writes the built site as C: an array of struct asset (api/asset.h), the page as it is, all else packed with gzip.
//
//   node embed.mjs SITE_DIR OUTPUT.c
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { extname, join } from "node:path";
import { gzipSync } from "node:zlib";

const LARGEST = 300 * 1024; // of all files, packed

const types = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

function bytesOf(data) {
  const lines = [];
  for (let at = 0; at < data.length; at += 32) {
    lines.push("    " + [...data.subarray(at, at + 32)].join(",") + ",");
  }
  return lines.join("\n");
}

const [site, output] = process.argv.slice(2);
const names = ["index.html", ...readdirSync(join(site, "assets")).sort().map((name) => "assets/" + name)];
let total = 0;
let arrays = "";
let rows = "";
names.forEach((name, index) => {
  const type = types[extname(name)];
  if (type === undefined) throw new Error(`${name}: give this kind of file a content type in embed.mjs`);
  const plain = readFileSync(join(site, name));
  const packed = gzipSync(plain, { level: 9 });
  const isPage = name === "index.html";
  const data = isPage ? plain : packed;
  total += packed.length;
  const tag = createHash("sha256").update(data).digest("hex").slice(0, 20);
  arrays += `static const uint8_t asset_${index}[] = {\n${bytesOf(data)}\n};\n\n`;
  rows += `    {"${isPage ? "" : name.slice("assets/".length)}", "${type}", "\\"${tag}\\"", ${!isPage}, ` +
    `{asset_${index}, sizeof(asset_${index})}},\n`;
});
if (total > LARGEST) throw new Error(`the dashboard has ${total} bytes packed; the most is ${LARGEST}`);
writeFileSync(output, `/* Made by dashboard/embed.mjs. */
#include "api/asset.h"

${arrays}const struct asset assets[] = {
${rows}};

const size_t asset_count = sizeof(assets) / sizeof(assets[0]);
`);
