// Bundles index.js as React Native does. The argument says whether packages' `exports`
// are read.
const { getDefaultConfig, mergeConfig } = require("@react-native/metro-config");
const Metro = require("metro");
const path = require("node:path");

const [withExports] = process.argv.slice(2);

(async () => {
  const config = mergeConfig(getDefaultConfig(__dirname), {
    watchFolders: [__dirname, path.resolve(__dirname, "../../node_modules")],
    maxWorkers: 1,
    resolver: {
      unstable_enablePackageExports: withExports === "true",
      useWatchman: false,
      sourceExts: ["js", "cjs", "json", "ts", "tsx"],
    },
    transformer: { babelTransformerPath: require.resolve("@react-native/metro-babel-transformer") },
    serializer: { getModulesRunBeforeMainModule: () => [], getPolyfills: () => [] },
  });
  await Metro.runBuild(config, { entry: "index.js", out: `bundle-${withExports}.js`, platform: "android", dev: false, minify: false });
})();
