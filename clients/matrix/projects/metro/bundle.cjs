// Bundles index.js as React Native does. The arguments: whether packages' `exports` are
// read, and the directories with the packages.
const { getDefaultConfig, mergeConfig } = require("@react-native/metro-config");
const Metro = require("metro");

const [withExports, ...packages] = process.argv.slice(2);

(async () => {
  const config = mergeConfig(getDefaultConfig(__dirname), {
    watchFolders: [__dirname, ...new Set(packages)],
    maxWorkers: 1,
    resolver: {
      unstable_enablePackageExports: withExports === "true",
      useWatchman: false,
    },
    transformer: { babelTransformerPath: require.resolve("@react-native/metro-babel-transformer") },
    serializer: { getModulesRunBeforeMainModule: () => [], getPolyfills: () => [] },
  });
  await Metro.runBuild(config, { entry: "index.js", out: "bundle.js", platform: "android", dev: false, minify: false });
})();
