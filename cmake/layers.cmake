# The layers, lowest first. A layer may rest only on rows above its own; tools/check_layers.py checks the includes.
# Read twice: by our build, where a row makes a target, and by find_package(leat), where a row finds what it needs.
leat_layer(base                      PACKAGES fmt::fmt Threads::Threads)
leat_layer(task    DEPENDS base      PACKAGES Boost::context)
leat_layer(sync    DEPENDS task)
leat_layer(channel DEPENDS sync)
leat_layer(runtime DEPENDS channel)
leat_layer(io      DEPENDS runtime   PACKAGES Boost::headers)
leat_layer(process DEPENDS io)
leat_layer(flow    DEPENDS process   PACKAGES tomlplusplus::tomlplusplus PkgConfig::re2 PkgConfig::libzstd
                                              PkgConfig::libxxhash PkgConfig::sqlite3 Boost::json)
leat_layer(cluster DEPENDS flow     PACKAGES PkgConfig::libnats OpenSSL::Crypto)
leat_command(leat  DEPENDS cluster      PACKAGES CLI11::CLI11 PkgConfig::re2)
